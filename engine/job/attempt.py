"""One attempt of a job that does not train: its ranks meet, its facts are told, signals stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ExitCode
from engine.job import folders, runtime
from engine.job.journal import Journal
from engine.job.runtime import Runtime
from engine.job.stopping import StopRequest

_MEET_SECONDS = 600


class Stopped(BaseException):
    """The attempt ends here because somebody asked for it; what is kept is kept. No fault, so no Exception."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a job has: a folder, the other ranks, a journal, and an ear for signals."""

    run_dir: Path
    ranks: Runtime
    journal: Journal
    stop: StopRequest

    def look_whether_to_stop(self) -> None:
        """Raise Stopped if a signal has asked for it."""
        if self.stop.requested:
            raise Stopped


def run_attempt(run_dir: Path, number: int, *, unit: str, body: Callable[[Attempt], None]) -> int:
    """Run the body of a job. Called by all ranks, each in its own process.

    Args:
        run_dir: where the job writes.
        number: of the attempt.
        unit: what a step is, one word.
        body: the job; it raises Stopped where it was stopped.

    Returns:
        0 when it is done, 130 when it was stopped.

    Raises:
        PlumblineError: with one sentence on what went wrong.
    """
    stop = StopRequest()
    stop.listen()
    with Journal(run_dir, number, speaks=runtime.is_main_process(), unit=unit) as journal:
        try:
            journal.mark(0, "meet")
            ranks = folders.learned(run_dir, runtime.start(_MEET_SECONDS, trains=False))
            body(Attempt(run_dir, ranks, journal, stop))
        except Stopped:
            message = f"Stopped at {unit} {journal.step} by {stop.signal or 'another rank'}."
            journal.event("stopped", message, step=journal.step)
            return ExitCode.INTERRUPTED
        except BaseException as error:
            journal.failed(error)
            raise
    return ExitCode.DONE
