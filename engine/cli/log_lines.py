"""Which logs of ranks are meant, and their lines on stdout, with who wrote each where there are several."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json_line, say
from engine.cli.settings import Settings
from engine.errors import NotFound
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.store.attempts import Attempt
    from engine.store.database import Store

Show = Callable[..., None]  # show(rank, line, left_out=N) where the line stands for N bytes that were left out


def chosen_attempt(store: Store, identity: str, number: int | None) -> Attempt | None:
    """Return an attempt by its number, else the last one, null before the first. Raises NotFound for a wrong number."""
    from engine.store import attempts

    tried = attempts.list_attempts(store, identity)
    if number is None:
        return tried[-1] if tried else None
    found = next((each for each in tried if each.number == number), None)
    if found is None:
        raise NotFound(f"{identity} has no attempt {number}.", hint=f"It has {len(tried)}.")
    return found


def say_others(settings: Settings, ranks: Sequence[int]) -> None:
    """Say that of several logs the first one is shown."""
    say(settings, f"rank {ranks[0]} of {len(ranks)}; --rank all shows every one.")


def decoded(line: bytes) -> str:
    """Return a line as text, without its end."""
    return line.decode("utf-8", "replace").removesuffix("\r")


def printer(settings: Settings, ranks: Sequence[int]) -> Show:
    """Return what prints a line. ranks: whose logs are shown, ascending."""
    escape = visible if sys.stdout.isatty() else str
    width = len(str(ranks[-1]))

    def show(rank: int, line: str, *, left_out: int = 0) -> None:
        if settings.json:
            told = {"line": None, "left_out": left_out} if left_out else {"line": line}
            print_json_line({"rank": rank, **told})
        elif len(ranks) > 1:
            click.echo(f"{rank:>{width}} │ {escape(line)}")
        else:
            click.echo(escape(line))

    return show
