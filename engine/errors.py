"""What a user is told when something is wrong: one sentence, a hint, and an exit code."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of both commands."""

    DONE = 0
    RUN_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


class PlumblineError(Exception):
    """A fault that a user can understand and mend.

    `message` is one sentence that names what is wrong, `hint` says what to do about it, `where`
    names the file, line, key, host or experiment concerned.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.RUN_FAILED

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{place}{self.message}{advice}"


class RunFailed(PlumblineError):
    """A run, or one that was waited for, failed."""

    exit_code = ExitCode.RUN_FAILED


class Unforeseen(RunFailed):
    """A run failed by a fault that nobody foresaw: the traceback of its cause tells more than its sentence."""


class InvalidInput(PlumblineError):
    """Wrong usage, or an invalid spec, hostfile or data file."""

    exit_code = ExitCode.USAGE


class NotFound(PlumblineError):
    """No such experiment, index or artifact."""

    exit_code = ExitCode.NOT_FOUND


class Refused(PlumblineError):
    """Refused before the start: preflight, memory plan, a missing input."""

    exit_code = ExitCode.REFUSED


class Unreachable(PlumblineError):
    """A node or the dispatcher cannot be reached."""

    exit_code = ExitCode.UNREACHABLE


class Barred(Unreachable):
    """A node lets nobody in until a person mends something: another try changes nothing."""
