"""Times and numbers as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def iso_time(seconds: float | None) -> str | None:
    """Return seconds since the epoch as ISO 8601 UTC, milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_number(value: float | None) -> float | None:
    """Return a number that JSON has: NaN and infinities become null."""
    return value if value is not None and math.isfinite(value) else None


def json_metrics(metrics: Mapping[str, float | None]) -> dict[str, Any]:
    """Return metrics for a JSON document; what is not finite is null, with a sibling flag `NAME_nonfinite`."""
    document: dict[str, Any] = {}
    for name, value in metrics.items():
        document[name] = json_number(value)
        if value is not None and not math.isfinite(value):
            document[f"{name}_nonfinite"] = str(value)
    return document
