"""Metadata of documents: what can be filtered by."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Mapping
from typing import Any

from engine.rag.reading.cleaning import clean, stands_on_a_line
from engine.rag.reading.rules import Rules
from engine.rag.records import Scalar

# Nobody filters by longer texts; they would be kept with every document.
_LONGEST = 1000
_LARGEST = 2**63


def scalars(values: Mapping[Any, Any], rules: Rules, besides: Collection[str] = ()) -> dict[str, Scalar]:
    """Return the values that can be filtered by, of the keys `metadata_keys` or, without any, of all but `besides`.

    These are truth values, integers of 64 bits, finite numbers, dates (as ISO 8601) and texts of at most 1,000
    characters. Others are left out.
    """
    keys = rules.metadata_keys or [key for key in values if key not in besides]
    found = {}
    for key in keys:
        value = _scalar(values.get(key))
        if value is not None and isinstance(key, str) and stands_on_a_line(key):
            found[key] = value
    return found


def _scalar(value: Any) -> Scalar | None:
    if isinstance(value, datetime.date | datetime.time):
        value = value.isoformat()
    if isinstance(value, str):
        return clean(value) if len(value) <= _LONGEST else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else None
    return None
