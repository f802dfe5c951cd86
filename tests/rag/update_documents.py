"""Documents for indexes that are changed, and what is asked of them."""

from __future__ import annotations

import random
from typing import Any

from tests.rag.tiny_embedder import WORDS

QUERIES = ["river tower", "king wrote the bridge", "poison city founded not", "unknown"]


def text(seed: int, words: int = 40) -> str:
    """A text of two or three chunks that no other one resembles."""
    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS, k=words)) + f" n{seed}"


def base_documents(count: int = 30) -> dict[str, Any]:
    return {f"d{number}": (text(number), {"even": number % 2 == 0}) for number in range(count)}
