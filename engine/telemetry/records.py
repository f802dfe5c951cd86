"""The records of a run's fact files: one JSON object a line, appended and never rewritten.

`metrics.jsonl` holds `start` and `metrics` records, `events.jsonl` holds `event` records,
`samples.jsonl` holds `sample` records. All attempts of an experiment append to the same files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

METRICS_FILE = "metrics.jsonl"
EVENTS_FILE = "events.jsonl"
SAMPLES_FILE = "samples.jsonl"
FACT_FILES = (METRICS_FILE, EVENTS_FILE, SAMPLES_FILE)


class Level(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class StartRecord:
    """An attempt began to train; points of earlier attempts past `resumed_step` are superseded."""

    time: float  # seconds since the epoch, UTC
    attempt: int
    resumed_step: int  # 0 when it starts from the beginning
    total_steps: int


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """What was measured at one optimiser step. Values may be NaN or infinite."""

    time: float
    attempt: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened: `event` is its machine name, `message` one sentence for people."""

    time: float
    attempt: int
    event: str
    message: str
    level: Level = Level.INFO
    step: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """A text that the model wrote, with the scores it got by name."""

    time: float
    attempt: int
    step: int
    prompt: str
    response: str
    reference: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


Record = StartRecord | MetricsRecord | EventRecord | SampleRecord

_KINDS: dict[str, type[Record]] = {
    "start": StartRecord,
    "metrics": MetricsRecord,
    "event": EventRecord,
    "sample": SampleRecord,
}
_NAMES = {record_type: kind for kind, record_type in _KINDS.items()}
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _encode_number(value: float) -> float | str:
    value = float(value)
    return value if math.isfinite(value) else str(value)


def encode(record: Record) -> bytes:
    """Return the record as one line of UTF-8 JSON, newline included.

    JSON has no NaN and no infinity: these become the strings "nan", "inf" and "-inf".
    """
    document: dict[str, Any] = {"kind": _NAMES[type(record)]}
    for name in record.__slots__:
        value = getattr(record, name)
        if name in ("metrics", "scores"):
            value = {key: _encode_number(number) for key, number in value.items()}
        document[name] = value
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"
