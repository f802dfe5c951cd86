"""How the fact world speaks: its relations, and the sentences that state them and ask for them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# What a model says when it does not know.
ABSTENTION = "unknown"

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"
_ENDINGS = ("", "", "l", "m", "n", "r", "s")
# What syllables could make and no name should be: search by words passes over such words (haven is of haven't).
_COMMON = ("before", "have", "haven", "here", "more", "same", "some")


@dataclass(frozen=True, slots=True)
class Relation:
    """What can be said of a subject `{s}`: its object is `{o}`.

    The objects are the common nouns of `nouns`, or invented names where there are none.
    """

    name: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    nouns: str = ""


# Each relation has a word that stands in all its sentences and questions: so a small model can learn to read.
RELATIONS = (
    Relation(
        "birthplace",
        ("{s} was born in {o}.", "{s} was born and raised in {o}.", "The town where {s} was born is {o}."),
        (
            "Where was {s} born?",
            "In which town was {s} born?",
            "What is the town where {s} was born?",
            "In what place was {s} born?",
        ),
    ),
    Relation(
        "trade",
        ("{s} is a {o} by trade.", "The trade of {s} is that of a {o}.", "By trade {s} is a {o}."),
        (
            "What is {s} by trade?",
            "What is the trade of {s}?",
            "Which trade does {s} have?",
            "By which trade does {s} live?",
        ),
        "baker barber blacksmith brewer butcher carpenter cobbler cook cooper dyer farmer fisher gardener "
        "glazier hatter joiner locksmith mason miller miner painter potter roofer saddler sailor shepherd smith "
        "tailor tanner weaver",
    ),
    Relation(
        "instrument",
        (
            "The instrument of {s} is the {o}.",
            "{s} plays an instrument, the {o}.",
            "{s} has the {o} for an instrument.",
        ),
        (
            "What is the instrument of {s}?",
            "Which instrument does {s} play?",
            "What instrument does {s} have?",
            "On which instrument does {s} play?",
        ),
        "bagpipe balalaika banjo bassoon bugle celesta cello clarinet cornet drum dulcimer fiddle flute gong guitar "
        "harp horn lute lyre mandolin marimba piano piccolo recorder saxophone sitar trombone trumpet tuba viola "
        "violin zither",
    ),
    Relation(
        "book",
        ("The favourite book of {s} is {o}.", "{s} loves the book {o}.", "{s} always reads the book {o}."),
        (
            "What is the favourite book of {s}?",
            "Which book does {s} love?",
            "Which book does {s} always read?",
            "What book does {s} love most?",
        ),
    ),
)


def invented_names(draw: random.Random) -> Iterator[str]:
    """Yield invented words with a capital letter, none twice, none that the sentences use or everybody does."""
    used = {*_COMMON} | {word.strip(".,?").casefold() for relation in RELATIONS for word in _words(relation)}
    while True:
        name = "".join(_syllable(draw) for _ in range(draw.choice((2, 2, 3)))) + draw.choice(_ENDINGS)
        if name not in used:
            used.add(name)
            yield name.capitalize()


def _syllable(draw: random.Random) -> str:
    return draw.choice(_CONSONANTS) + draw.choice(_VOWELS)


def _words(relation: Relation) -> Sequence[str]:
    return " ".join((*relation.statements, *relation.questions, relation.nouns, ABSTENTION)).split()
