"""How bad a line of a log is, by the words in it, and how many such lines the logs of a run have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.telemetry.records import Level

_ERROR = r"\b(error|exception|traceback|fatal|killed)\b"
_WARNING = r"\bwarn(ing)?\b"
_IS_ERROR = re.compile(_ERROR, re.IGNORECASE)
_IS_WARNING = re.compile(_WARNING, re.IGNORECASE)
_ERRORS = re.compile(_ERROR.encode(), re.IGNORECASE)
_WARNINGS = re.compile(_WARNING.encode(), re.IGNORECASE)
_MOST_AT_ONCE = 256 * 1024  # bytes of a log that are read at once; of what is older than that, nothing is counted


class Shown(StrEnum):
    """Which lines are shown."""

    ALL = "all lines"
    WARNINGS = "warnings and errors"
    ERRORS = "errors"

    @property
    def following(self) -> Shown:
        """The next one in the circle."""
        each = list(Shown)
        return each[(each.index(self) + 1) % len(each)]

    def has(self, level: Level) -> bool:
        """Whether a line of that level is shown."""
        return self is Shown.ALL or level is Level.ERROR or (self is Shown.WARNINGS and level is Level.WARNING)


def level_of(line: str) -> Level:
    """Return how bad a line is."""
    if _IS_ERROR.search(line):
        return Level.ERROR
    return Level.WARNING if _IS_WARNING.search(line) else Level.INFO


@dataclass(frozen=True, slots=True)
class Counted:
    """Lines of a log that warn, and that tell of errors."""

    warnings: int = 0
    errors: int = 0

    def __str__(self) -> str:
        parts = [(self.errors, "error"), (self.warnings, "warning")]
        return ", ".join(f"{count} {word}{'s' if count != 1 else ''}" for count, word in parts if count)


class LevelCounter:
    """Counts in logs that grow, from their last piece on. For one thread at a time."""

    def __init__(self) -> None:
        self._found: dict[Path, tuple[int, Counted]] = {}  # offset behind the last line counted

    def count(self, paths: Sequence[Path]) -> dict[Path, Counted]:
        """Return what was found so far in each of these logs; where there is nothing, it is not named."""
        for path in paths:
            self._go_on(path)
        return {
            path: self._found[path][1] for path in paths if path in self._found and self._found[path][1] != Counted()
        }

    def _go_on(self, path: Path) -> None:
        offset, counted = self._found.get(path, (0, Counted()))
        try:
            size = path.stat().st_size
            if size == offset:
                return
            if size < offset:
                offset, counted = 0, Counted()
            with path.open("rb") as file:
                file.seek(max(offset, size - _MOST_AT_ONCE))
                offset = file.tell()
                text = file.read(_MOST_AT_ONCE)
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        warnings = errors = 0
        for line in whole.splitlines():
            if _ERRORS.search(line):
                errors += 1
            elif _WARNINGS.search(line):
                warnings += 1
        self._found[path] = offset + len(whole), Counted(counted.warnings + warnings, counted.errors + errors)
