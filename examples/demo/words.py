"""The words of opinion that public text and private reviews share.

A language model transfers only what it has met, so the feeling words are common to both kinds of text. Everything else
differs: places, people, things, sentence shapes, and the private reviews' own praise and complaints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grammar import words

MOODS = ("negative", "positive")
OPPOSITE = {"positive": "negative", "negative": "positive"}

# By what they are said of: a person, a space, a service, an object, how something was done, how one felt.
WORDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "positive": {
        "person": words("kind friendly helpful polite patient gentle caring warm honest cheerful thoughtful careful"),
        "space": words("clean bright tidy comfortable cosy spacious"),
        "service": words("quick smooth simple reliable easy punctual"),
        "object": words("sturdy neat pretty solid flawless handy"),
        "manner": words("gladly carefully kindly politely patiently warmly"),
        "feeling": words("happy pleased grateful relaxed satisfied delighted"),
    },
    "negative": {
        "person": words("rude careless impatient unfriendly grumpy cold arrogant lazy harsh sloppy bored dishonest"),
        "space": words("dirty gloomy messy cramped noisy shabby"),
        "service": words("slow clumsy confusing unreliable chaotic late"),
        "object": words("flimsy faulty ugly broken useless scratched"),
        "manner": words("reluctantly carelessly rudely coldly lazily impatiently"),
        "feeling": words("angry upset disappointed tired annoyed frustrated"),
    },
}
