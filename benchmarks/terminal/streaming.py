"""Eight runs that log 40 metrics ten times a second each, brought into the database as the dispatcher does.

python -m terminal.streaming DATABASE ID…      until it is ended; says "streaming" on stdout after the first points
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

from engine.store import facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import METRICS_FILE, MetricsRecord
from terminal.filling import LIVE_STEPS, STREAMED, go_on

PERIOD = 0.1  # seconds


def stream(database: Path, live: tuple[str, ...]) -> None:
    """Write for ever, all runs in one transaction, as `engine.dispatch.collection` does."""
    store = Store.open(database)
    go_on(store, live)
    offsets = {identity: facts.cursor(store, identity, METRICS_FILE) for identity in live}
    began, turn = time.monotonic(), 0
    while True:
        pieces = []
        for place, identity in enumerate(live):
            before = offsets[identity]
            record = MetricsRecord(time.time(), 1, LIVE_STEPS + before + 1, _metrics(before, place))
            pieces.append(facts.Piece(identity, METRICS_FILE, Chunk([record], before + 1, (), False), before))
            offsets[identity] += 1
        assert all(facts.ingest_all(store, pieces))
        turn += 1
        if turn == 1:
            print("streaming", flush=True)
        time.sleep(max(0.0, began + turn * PERIOD - time.monotonic()))


def _metrics(step: int, place: int) -> dict[str, float]:
    return {
        name: 0.25 + 0.02 * math.sin(step / 40 + place + number) + 0.005 * math.sin(step * (number + 1.7))
        for number, name in enumerate(STREAMED)
    }


if __name__ == "__main__":
    stream(Path(sys.argv[1]), tuple(sys.argv[2:]))
