"""Numbers as people read them."""

from __future__ import annotations

import math

from engine.telemetry.numbers import since


def test_how_long_ago_something_was_is_told_in_its_largest_unit() -> None:
    told = [since(seconds) for seconds in (0.4, 59.4, 250, 3_700, 90_000, 1_000_000, math.nan)]
    assert told == ["0 s", "59 s", "4m", "1h", "1d", "11d", "–"]
