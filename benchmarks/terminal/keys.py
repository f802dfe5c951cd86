"""How long after a key the terminal has what the key changed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from terminal.emulated import Screen
from terminal.pty_program import LINES, PtyProgram

PAUSE = 0.25  # seconds between two keys, as a person types who looks
Shows = Callable[[Screen], bool]


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and what holds of the screen as soon as it shows what the key did; null for any byte that comes.

    An int: that line is another one than before.
    """

    keys: str
    shows: Shows | int | None
    rest: float = PAUSE  # seconds before the next key


@dataclass(slots=True)
class Pressed:
    """What was measured: seconds from each key to its repaint."""

    seconds: list[float] = field(default_factory=list)
    by_key: dict[str, list[float]] = field(default_factory=dict)

    @property
    def p95(self) -> float:
        """The 95th percentile."""
        return statistics.quantiles(self.seconds, n=20, method="inclusive")[-1]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


def press_all(program: PtyProgram, keys: Sequence[Key], turns: int) -> Pressed:
    """Press these keys in turn, again and again."""
    found = Pressed()
    for _ in range(turns):
        for key in keys:
            before, shows = len(program.output), key.shows
            if isinstance(shows, int):
                shows = _changes(program.screen, shows)
            pressed = program.press(key.keys)
            shown = program.wait_for(b"(?s).", before, 20.0) if shows is None else program.wait_until(shows, 20.0)
            found.seconds.append(shown - pressed)
            found.by_key.setdefault(key.keys, []).append(shown - pressed)
            program.read_for(key.rest)
    return found


def _changes(screen: Screen, line: int) -> Shows:
    before = screen.row(line)
    return lambda screen: screen.row(line) != before


def status(text: str) -> Shows:
    """Return whether this stands in the status line."""
    return lambda screen: text in screen.row(LINES - 2)


def first_line(text: str) -> Shows:
    """Return whether this stands in the first line."""
    return lambda screen: text in screen.row(0)


def of_runs(screen: Screen, names: Sequence[str]) -> list[Key]:
    """Return keys of the Runs screen, whose cursor stands on the first of these names: down, and up again."""
    rows = [next(line for line in range(LINES) if f" {name} " in screen.row(line)) for name in names]
    column = screen.row(rows[0]).index(names[0])
    others = screen.styles[rows[1]][column]

    def under_cursor(row: int) -> Shows:
        return lambda screen: screen.styles[row][column] != others

    return [
        *(Key("j", under_cursor(row)) for row in rows[1:]),
        *(Key("k", under_cursor(row)) for row in reversed(rows[:-1])),
    ]


def of_run(screen: Screen, this: str, other: str) -> list[Key]:
    """Return keys of the Run screen, which shows one run: zoom, smoothing, x axis, crosshair, neighbour."""
    axis = next(line for line in range(LINES) if "└┬" in screen.row(line)) + 1
    return [
        Key("+", axis),
        Key("0", axis),
        Key(",", status("smoothing 0.3")),
        Key(".", status("smoothing 0.6")),
        Key("x", status("x axis: samples")),
        Key("x", status("x axis: elapsed")),
        Key("x", status("x axis: local time")),
        Key("x", status("x axis: step")),
        Key("i", _has_crosshair),
        Key("i", lambda screen: not _has_crosshair(screen)),
        Key("]", first_line(other), 1.0),
        Key("[", first_line(this), 1.0),
    ]


def _has_crosshair(screen: Screen) -> bool:
    return any("●" in screen.row(line) for line in range(4, 30))


# Of the Compare screen: smoothing and x axis of all runs, another tab and back.
OF_COMPARE = (
    Key(",", status("smoothing 0.3")),
    Key(".", status("smoothing 0.6")),
    Key("x", status("x axis: elapsed")),
    Key("x", status("x axis: local time")),
    Key("x", status("x axis: step")),
    Key("m", lambda screen: "metric " in screen.text()),
    Key("c", lambda screen: "metric " not in screen.text()),
)
# From place to place: each screen is as it was left.
OF_PLACES = (
    Key("1", lambda screen: " runs, " in screen.row(1)),
    Key("3", lambda screen: "reward-KL" in screen.text()),
    Key("4", lambda screen: " run, " in screen.row(1)),
    Key("3", lambda screen: "reward-KL" in screen.text()),
)
