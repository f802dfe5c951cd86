"""The spec of a run as text: its YAML, with a mark at each key in which it differs from what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from textual.content import Content

from engine.telemetry.numbers import short
from tui.canvas.charset import ASCII, current
from tui.text.safe import visible
from tui.text.wrapping import Line

_QUIET, _CHANGED = "$foreground 60%", "bold $accent"
_COLUMN = 44  # at which the marks stand, where lines are short enough
_FOR_PEOPLE = ("name", "note")


@dataclass(frozen=True, slots=True)
class SpecFacts:
    """The spec of a run. differences: dotted key → what it was, what it is."""

    yaml: str
    parent: str | None
    differences: Mapping[str, tuple[object, object]]


def spec_lines(facts: SpecFacts) -> list[Line]:
    """Return how many keys differ from the parent's, then the YAML, one line a key."""
    return [*_head(facts), *_body(facts)]


def _head(facts: SpecFacts) -> Iterator[Line]:
    if facts.parent is None:
        return
    parent = visible(facts.parent)
    told = [key for key in facts.differences if key not in _FOR_PEOPLE]
    if not told:
        yield 0, Content.assemble((f"nothing differs from {parent} but what it is called", _QUIET))
    else:
        keys = "1 key differs" if len(told) == 1 else f"{len(told)} keys differ"
        yield 0, Content.assemble((f"{keys} from {parent}", _QUIET))
        width = max(len(visible(key)) for key in told)
        for key in told:
            was, now = facts.differences[key]
            text = f"{visible(key):<{width}}  {_written(now)}"
            yield 2, Content.assemble((text, _CHANGED), (f"  {_arrow()} {_written(was)}", "$warning"))
    yield 0, Content()


def _body(facts: SpecFacts) -> Iterator[Line]:
    shown: set[str] = set()
    for key, line in keyed(facts.yaml):
        text = visible(line)
        indent = len(line) - len(line.lstrip()) + 2
        name, colon, value = text.partition(":")
        if key in facts.differences:
            shown.add(key)
            was = f"  {_arrow()} {_written(facts.differences[key][0])}"
            padding = " " * max(0, _COLUMN - len(text))
            yield indent, Content.assemble((text, _CHANGED), padding, (was, "$warning"))
        else:
            yield indent, Content.assemble((name + colon, _QUIET), value)
    for key in facts.differences:
        if key not in shown:
            was = _written(facts.differences[key][0])
            yield (
                2,
                Content.assemble(
                    (f"{visible(key)}: not there any more", _CHANGED), (f"  {_arrow()} {was}", "$warning")
                ),
            )


def keyed(yaml: str) -> Iterator[tuple[str, str]]:
    """Yield each line of canonical YAML with the dotted name of its key: it has one key a line, set in by two."""
    path: list[str] = []
    for line in yaml.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path[depth:] = [line.strip().partition(":")[0].strip("'\"")]
        yield ".".join(path), line


def _arrow() -> str:
    return "<-" if current() is ASCII else "←"


def _written(value: object) -> str:
    return short(value) if isinstance(value, float) else "null" if value is None else visible(str(value))
