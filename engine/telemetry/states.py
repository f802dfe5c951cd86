"""The states of an experiment and of its attempts."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """`queued → staging → starting → running → succeeded | failed | stopped | lost`."""

    QUEUED = "queued"
    STAGING = "staging"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens without a new attempt."""
        return self in ENDED

    @property
    def ended_badly(self) -> bool:
        """Whether it has ended without success."""
        return self.ended and self is not State.SUCCEEDED


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED, State.LOST})
ENDED_AS = {
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.STOPPED: "was stopped",
    State.LOST: "was lost",
}  # what a run did that has ended


class Desired(StrEnum):
    """What a person wants of an experiment; the dispatcher makes it so."""

    RUN = "run"
    STOP = "stop"  # at the end of the current step, with a checkpoint
    STOP_NOW = "stop_now"  # at once; steps since the last checkpoint are lost
