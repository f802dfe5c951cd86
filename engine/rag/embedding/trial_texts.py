"""The texts of an embedder's trial: varied in length, script and kind, the same everywhere."""

from __future__ import annotations

_PIECES = (
    "The river rises in the hills above the town and reaches the sea after some two hundred kilometres.",
    "Who signed the treaty, and in which year was it revoked?",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)",
    "Die Brücke wurde 1894 eröffnet und nach dem Krieg in alter Form wieder aufgebaut.",
    "| node | cores | memory |\n| a1 | 64 | 512 GiB |\n| a2 | 32 | 256 GiB |",
    "In 2019 the plant made 1,482,300 tonnes of steel, 3.7% more than the year before; losses fell to 12.5 million.",
    "量子力学描述微观粒子的行为。",
    "She was not elected, although most of the votes that were counted first had been for her.",
    "Le comité a refusé la proposition par 14 voix contre 11 et une abstention.",
    "https://example.org/archive?id=77&lang=en returned 404 (not found) twice.",
    "Enzymes lower the energy that a reaction needs to begin; they are not used up by it.",
    "«Не все птицы умеют летать», — сказал учитель.",
    "x² + y² = r² holds for every point (x, y) of a circle about the origin.",
)
_LENGTHS = (1, 9, 3, 6, 2, 12, 4, 8)  # pieces of a text


def calibration_texts(count: int) -> list[str]:
    """Return texts of 10 to 300 tokens, no two alike up to 104."""
    texts, piece = [], 0
    for number in range(count):
        length = _LENGTHS[number % len(_LENGTHS)]
        texts.append(" ".join(_PIECES[(piece + offset) % len(_PIECES)] for offset in range(length)))
        piece += length + 1
    return texts
