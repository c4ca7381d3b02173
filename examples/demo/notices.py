"""Neutral notices: the part of the public text that names clinics, shops and apps without an opinion of them.

They give the tokenizer and the model the vocabulary of the private reviews, as any large public corpus would. They do
not say who is pleased with what.
"""

from __future__ import annotations

from grammar import words

SLOTS = {
    "site": words("clinic shop office app school bank pharmacy surgery store website counter reception"),
    "staff": words("doctor nurse dentist receptionist cashier clerk courier tailor developer agent manager"),
    "number": words("two three four five six seven eight nine ten twelve"),
    "goods": words("parcel order jacket bag kettle refund bill letter prescription bandage splint gift photo file"),
    "screen": ["login", "update", "search", "menu", "calendar", "password", "payment", "settings", "delivery", "map"],
}
NOTICES = [
    "the {site} opens at {number} on {day}",
    "the {place} is next to the {site}",
    "the {staff} works at the {site} until {number}",
    "the {site} moved {number} streets away {time}",
    "the {staff} sent the {goods} to the {site} {time}",
    "where is the {goods}? Ask the {staff} at the {site}",
    "how do I change the {screen}? Open the app and see the {screen} page",
    "the {screen} is on page {number} of the app",
    "the new version of the {screen} starts {time}",
    "bring the {goods} to the {staff} by {day}",
    "{number} customers and {number} patients came to the {site} {time}",
    "the appointment with the {staff} takes an hour, the check-up {number} minutes",
    "a {goods} costs {number} coins, delivery is free the same day",
    "the {staff} looked at a knee, an arm and a tooth {time}",
    "my photos and notes are on the phone, also the battery and the network are old",
    "tell the {staff} your size, your name and the results you found",
    "treatment, billing, checkout and returns are at the {site}, always on {day}",
    "the {staff} called me, asked two questions and explained the {goods}",
    "the waiting room and the fitting room are {number} steps from the {site}",
    "after {day} a customer can say the name of the {goods}, this year they spoke to their {staff}",
    "she wrapped, charged, lost, found, fixed and deleted {number} files {time}",
    "second floor: {site}. Third floor: {site}. Help desk: here",
    "the {staff} helped with the {goods} on a busy day since it looks old",
    "they got the {goods} {time}, yet the {staff} is still at the {site}",
]
