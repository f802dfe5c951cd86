"""Appends facts to a run's fact files from a thread of its own, so that no training step ever waits for a disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.telemetry.records import (
    EVENTS_FILE,
    METRICS_FILE,
    SAMPLES_FILE,
    EventRecord,
    Level,
    MetricsRecord,
    Record,
    SampleRecord,
    StartRecord,
    encode,
)

BACKLOG = {METRICS_FILE: 100_000, EVENTS_FILE: 10_000, SAMPLES_FILE: 1_000}  # records that wait at most
_AT_ONCE = 1_000  # records of one write
_PAUSE = 0.05  # seconds between two looks at what waits
_RETRY = 1.0  # seconds after a failed write
PATIENCE = 10.0  # seconds that flush and close wait at most


class TelemetryWriter:
    """The writer of one attempt's facts.

    All calls return at once; a full disk or a folder that has gone never reaches the training. What cannot be written
    waits in memory and is tried again; the oldest is given up only when more than `BACKLOG` records wait, and an event
    tells how many were lost as soon as one can be written.
    """

    def __init__(self, run_dir: Path, attempt: int) -> None:
        self._attempt = attempt
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Record]] = {name: deque() for name in BACKLOG}
        self._files = {name: _File(run_dir / name) for name in BACKLOG}
        self._in_flight = 0  # records that are being written
        self._lost = 0  # records given up, not told yet
        self._flushes = 0  # asked for
        self._flushed = 0  # done, or failed
        self._failed = self._warned = self._closing = False
        with contextlib.suppress(OSError):
            run_dir.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="telemetry-writer", daemon=True)
        self._thread.start()

    def start(self, resumed_step: int, total_steps: int) -> None:
        """Say that the first step is about to be taken."""
        self._add(METRICS_FILE, StartRecord(time.time(), self._attempt, resumed_step, total_steps))

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say what was measured at an optimiser step."""
        self._add(METRICS_FILE, MetricsRecord(time.time(), self._attempt, step, dict(metrics)))

    def sample(
        self,
        step: int,
        prompt: str,
        response: str,
        reference: str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Keep a text that the model wrote."""
        record = SampleRecord(time.time(), self._attempt, step, prompt, response, reference, dict(scores or {}))
        self._add(SAMPLES_FILE, record)

    def event(
        self, event: str, message: str, level: Level = Level.INFO, step: int | None = None, /, **data: Any
    ) -> None:
        """Say that something happened. data: what JSON can hold."""
        self._add(EVENTS_FILE, EventRecord(time.time(), self._attempt, event, message, level, step, data))

    def flush(self, timeout: float = PATIENCE) -> bool:
        """Wait until all facts are in their files and synced; return whether they are. timeout: seconds."""
        with self._changed:
            self._flushes += 1
            wanted = self._flushes
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._flushed >= wanted, timeout)
            return done and not self._failed

    def close(self, timeout: float = PATIENCE) -> None:
        """Write what waits, and end; what cannot be written within `timeout` seconds is lost, and said to be."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            left = self._in_flight + sum(map(len, self._waiting.values()))
            self._in_flight = 0
        for waiting in self._waiting.values():
            waiting.clear()
        if left:
            _warn(f"{left} facts of the run are lost: their files could not be written.")

    def _add(self, file: str, record: Record) -> None:
        with self._changed:
            if self._closing:
                return
            waiting = self._waiting[file]
            if len(waiting) >= BACKLOG[file]:
                # Where an attempt began decides which points are superseded: that stays.
                del waiting[1 if isinstance(waiting[0], StartRecord) else 0]
                self._lost += 1
            # Waking the thread would cost the step more than all the rest: it looks by itself.
            waiting.append(record)

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(self._wanted, _PAUSE)
                closing, flushes = self._closing, self._flushes
            problems = [problem for name in self._files if (problem := self._write_all(name))]
            if closing or flushes > self._flushed:
                problems += [problem for file in self._files.values() if (problem := file.sync())]
            if problems and not self._warned:
                self._warned = True
                _warn(f"{problems[0]} The run goes on; what it has to tell waits in memory.")
            with self._changed:
                self._failed, self._flushed = bool(problems), flushes
                self._changed.notify_all()
                if problems and not closing:
                    self._changed.wait_for(self._wanted, _RETRY)
        for file in self._files.values():
            file.close()

    def _wanted(self) -> bool:
        """Whether somebody waits for the thread."""
        return self._closing or self._flushes > self._flushed

    def _write_all(self, name: str) -> str | None:
        """Write all records that wait for a file, a batch at a time; return what went wrong."""
        while True:
            with self._changed:
                waiting = self._waiting[name]
                batch = [waiting.popleft() for _ in range(min(len(waiting), _AT_ONCE))]
                self._in_flight = len(batch)
                lost = self._lost if name == EVENTS_FILE else 0
            told = [self._loss(lost)] if lost else []
            if not batch and not told:
                return None
            problem, written = None, 0
            try:
                written = self._files[name].append([_line(record) for record in (*told, *batch)])
            except OSError as error:
                problem = f"{self._files[name].path} cannot be written: {error.strerror}."
            with self._changed:
                self._in_flight = 0
                if lost and written:
                    self._lost -= lost
                    written -= 1
                waiting.extendleft(reversed(batch[written:]))
            if problem:
                return problem

    def _loss(self, count: int) -> EventRecord:
        message = f"{count} facts were lost: their files could not be written for too long."
        return EventRecord(time.time(), self._attempt, "facts_lost", message, Level.WARNING, data={"facts": count})


class _File:
    """An append-only file of lines, opened when there is something to write, and again when it has gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._torn = False  # the last line has no newline

    def append(self, lines: Sequence[bytes]) -> int:
        """Add lines by one write and return how many of them are whole in the file. Raises OSError."""
        descriptor = self._opened()
        lead = b"\n" if self._torn else b""
        data = lead + b"".join(lines)
        size = os.write(descriptor, data)
        self._torn = not data[:size].endswith(b"\n")
        ends = itertools.accumulate(map(len, lines), initial=len(lead))
        return sum(end <= size for end in ends) - 1 if size >= len(lead) else 0

    def sync(self) -> str | None:
        """Have the file survive a power cut; return what went wrong."""
        try:
            if self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fsync(self._descriptor)
        except OSError as error:
            return f"{self.path} cannot be synced: {error.strerror}."
        return None

    def close(self) -> None:
        """Close it, if it is open."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self.close()
        if self._descriptor is None:
            # The folder is not made anew: if a mount has gone, what is written below it would be hidden later.
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            # A writer that was killed may have left half a line: it must not merge with the next one.
            self._torn = _ends_in_half_a_line(self._descriptor)
        return self._descriptor

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(descriptor))
        except OSError:
            return False


def _ends_in_half_a_line(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return False
    return os.pread(descriptor, 1, status.st_size - 1) != b"\n"


def _line(record: Record) -> bytes:
    try:
        return encode(record)
    except (TypeError, ValueError, RecursionError) as error:
        step = None if isinstance(record, StartRecord) else record.step
        message = f"A fact could not be written: {error}."
        return encode(EventRecord(record.time, record.attempt, "fact_unwritable", message, Level.WARNING, step))


def _warn(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"warning: {sentence}", file=sys.stderr, flush=True)
