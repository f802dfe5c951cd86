"""A request to stop, made by a signal, honoured at the end of a step."""

from __future__ import annotations

import os
import signal
from types import FrameType

from engine.errors import ExitCode

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Remembers that somebody asked this rank to stop.

    SIGUSR1, SIGTERM and SIGINT ask for a checkpoint at the end of the step; a second SIGTERM or SIGINT
    ends the process at once.
    """

    def __init__(self) -> None:
        self.signal: str | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    def listen(self) -> None:
        """Take over the signals. Call it in the main thread."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and number != signal.SIGUSR1:
            os._exit(ExitCode.INTERRUPTED)
        self.signal = signal.Signals(number).name
