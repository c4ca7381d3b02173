"""The private task of the demo: short reviews of clinics, shops and apps, negative or positive, made from a seed.

Most clauses judge in the feeling words of `words.py`; others tell what happened ("lost my file") in words that the
public text never uses with an opinion, so that there is more to learn here than the pretrained mood gives away.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from grammar import Rules, expand, pick, polish, shuffled
from words import MOODS, OPPOSITE, WORDS

BUSINESSES = {
    "clinic": {
        "staff": ["doctor", "nurse", "dentist", "receptionist"],
        "area": ["waiting room", "surgery", "reception", "clinic"],
        "process": ["check-up", "treatment", "billing", "appointment"],
        "item": ["splint", "bandage", "prescription", "letter"],
        "positive": ["explained every step", "took time for me", "my knee is fine again", "called me with the results"],
        "negative": ["lost my file", "left me waiting two hours", "sent the bill twice", "my arm hurts more now"],
    },
    "shop": {
        "staff": ["cashier", "clerk", "manager", "tailor"],
        "area": ["fitting room", "shop", "counter", "store"],
        "process": ["delivery", "checkout", "refund", "returns"],
        "item": ["jacket", "bag", "kettle", "gift"],
        "positive": [
            "refunded me the same day",
            "wrapped it for free",
            "found my size at once",
            "my parcel came early",
        ],
        "negative": ["refused the refund", "sent the wrong size", "charged me for two", "my parcel never came"],
    },
    "app": {
        "staff": ["agent", "developer", "courier", "help desk"],
        "area": ["menu", "settings page", "start page", "website"],
        "process": ["login", "update", "search", "payment"],
        "item": ["calendar", "photo page", "map", "new version"],
        "positive": ["found all my notes", "fixed it in an hour", "saves me an hour a day", "works without a network"],
        "negative": ["crashed three times", "deleted my photos", "asks for my password all day", "eats the battery"],
    },
}
SHAPES = [
    "{staff} {degree}{person}",
    "their {staff} is {degree}{person}",
    "{person} {staff}, {service} {process}",
    "{process}: {degree}{service}",
    "{degree}{space} {area}",
    "found the {area} {degree}{space}",
    "the {item} looks {object}",
    "got a {object} {item}",
    "the {staff} helped me {manner}",
    "spoke {manner} with me",
    "{degree}{feeling} after the {process}",
    "can't say the {process} is {not_service}",
]
FORMS = [
    "{opener}{shape}{join}{shape}",
    "{opener}{shape}{join}{shape}",
    "{shape}{join}{shape}{join}{shape}",
    "{opener}{shape}{join}{own}",
    "{opener}{own}{join}{shape}",
]
PHRASES = {
    "degree": ["", "", "", "very ", "super ", "always ", "really "],
    "opener": ["", "", "", "", "second visit: ", "third order this year, ", "new customer, ", "on a busy day: "],
    "join": ["; ", ", ", " and ", ". ", " - ", ", also "],
    "turn": [" but ", ", yet ", ", still "],
}


def review(rng: random.Random, label: str) -> str:
    """One review that is `label` on the whole; one in five grants the opposite first, then turns ("but", "yet")."""
    business = BUSINESSES[pick(rng, tuple(BUSINESSES))]
    judged: dict[str, Rules] = {
        mood: {
            **{slot: business[slot] for slot in ("staff", "area", "process", "item")},
            **WORDS[mood],
            **PHRASES,
            "shape": SHAPES,
            "own": business[mood],
            "not_service": WORDS[OPPOSITE[mood]]["service"],
        }
        for mood in MOODS
    }
    if rng.random() < 0.2:
        return polish(expand(rng, judged[OPPOSITE[label]], "{shape}{turn}") + expand(rng, judged[label], "{shape}"))
    return polish(expand(rng, judged[label], pick(rng, FORMS)))


def reviews(seed: int, count: int, avoid: Collection[str] = ()) -> list[tuple[str, str]]:
    """`count` different (text, label) pairs in random order, labels alternating before it; no text of `avoid`."""
    rng = random.Random(seed)
    seen = set(avoid)
    rows: list[tuple[str, str]] = []
    while len(rows) < count:
        label = MOODS[len(rows) % len(MOODS)]
        text = review(rng, label)
        if text not in seen:
            seen.add(text)
            rows.append((text, label))
    return shuffled(rng, rows)
