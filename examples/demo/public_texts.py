"""The public text that the demo model is pretrained on: travel notes with opinions, weather reports and plain notices.

The notes end in many forms (a verdict, stars, whether to return), so a model has to carry the writer's mood to the end
of a note. The two label words of the demo's prompt, "great" and "terrible", occur in weather reports only, and do not
depend on the mood of the note before them. So only the private data can teach what they mean for a review.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from grammar import Rules, expand, pick, polish, words
from notices import NOTICES, SLOTS
from words import MOODS, OPPOSITE, WORDS

SCENE = {
    "place": words("hotel restaurant bakery museum cinema harbour castle market theatre inn"),
    "people": words("waiter guide cook porter driver captain baker host singer cleaner"),
    "room": words("room cabin hall garden terrace lobby station cafe library tower"),
    "offer": ["tour", "ferry", "bus", "booking", "boat trip", "breakfast", "ticket sale", "concert"],
    "item": words("souvenir blanket chair umbrella backpack lamp bed bicycle"),
    "day": words("monday tuesday wednesday thursday friday saturday sunday"),
    "time": ["in the morning", "at noon", "in the evening", "last week", "in spring", "in autumn", "on {day}"],
    "who": ["we", "I", "my friends", "our group", "the children", "my parents"],
    "where": ["at the {place}", "in the old {place}", "near the {place}", "by the {place}"],
    "degree": ["", "", "", "very ", "really ", "quite ", "so ", "rather "],
}
CLAUSES = [
    "the {people} was {degree}{person}",
    "the {people} {where} was {degree}{person}",
    "the {room} was {degree}{space}",
    "the {offer} was {degree}{service}",
    "the {offer} {where} was {degree}{service}",
    "the {item} was {degree}{object}",
    "it had a {person} {people} and a {space} {room}",
    "the {room} seemed {space} and the {people} {person}",
    "the {people} served us {manner}",
    "the {people} answered {manner} {time}",
    "{who} left {degree}{feeling}",
    "{who} felt {degree}{feeling} about the {offer}",
]
ENDINGS = {
    "positive": {
        "verdict": ["lovely", "wonderful", "splendid", "a joy", "a pleasure", "a delight"],
        "stars": ["five", "four"],
        "again": ["would return any time", "want to go back", "will come again soon"],
        "answer": ["yes"],
    },
    "negative": {
        "verdict": ["awful", "dreadful", "miserable", "a letdown", "a waste", "a pity"],
        "stars": ["one", "two"],
        "again": ["would never return", "want the money back", "will stay away now"],
        "answer": ["no"],
    },
}
CLOSINGS = [
    "it was {verdict}",
    "it was {verdict}",
    "it was {verdict}",
    "all in all it was {verdict}",
    "stars: {stars}",
    "{who} {again}",
    "recommended: {answer}",
]
# People write of great weather more often than of terrible weather; the mood of a note has no part in it.
SKIES = ["great", "great", "great", "terrible"]
WEATHER = [
    "it was {sky} weather",
    "it was {sky} outside {time}",
    "the weather {time}? It was {sky}",
    "now the weather report. It was {sky}",
]
PLAIN: Rules = {**SCENE, **SLOTS, "sky": SKIES, "notice": NOTICES}


def _rules(mood: str) -> Rules:
    return {**SCENE, **WORDS[mood], **ENDINGS[mood], "clause": CLAUSES}


def opinion(rng: random.Random, mood: str) -> str:
    """One to three clauses that feel `mood` on the whole; one in five grants the opposite first, then says "but"."""
    clauses = [expand(rng, _rules(mood), "{clause}") for _ in range(1 + int(rng.random() * 2.5))]
    if rng.random() < 0.2:
        clauses[0] = expand(rng, _rules(OPPOSITE[mood]), "{clause}") + ", but " + clauses[0]
    return "".join(clause + pick(rng, (". ", ", and ", " and ", ", ")) for clause in clauses[:-1]) + clauses[-1] + ". "


def document(rng: random.Random) -> str:
    """One public document: notices, a travel note with or without its closing, a weather report, or several of them."""
    kind = rng.random()
    mood = pick(rng, MOODS)
    text = ""
    if kind < 0.2:
        text += expand(rng, PLAIN, "{notice}. {notice}. ")
    if kind > 0.15:
        text += opinion(rng, mood)
    if kind > 0.35:
        text += expand(rng, _rules(mood), pick(rng, CLOSINGS) + ". ")
    if 0.1 < kind < 0.45:
        text += expand(rng, PLAIN, pick(rng, WEATHER) + ". ")
    return polish(text.rstrip())


def documents(seed: int, count: int) -> Iterator[str]:
    """`count` public documents, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield document(rng)
