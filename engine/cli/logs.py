"""`engine logs`: the ranks' logs, as copied from the nodes."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json_line, say, visible
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.store.database import Store

POLL_SECONDS = 0.1
LONGEST_LINE = 1 << 20


class LogTail:
    """Reads the complete lines that a growing file gained since the last call."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path = path
        self.rank = rank
        self._offset = 0
        self._rest = b""

    def lines(self, *, whole: bool) -> list[str]:
        """New lines; with `whole`, also a last one without its newline."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, 2)
                if file.tell() < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *complete, self._rest = (self._rest + data).split(b"\n")
        if (whole or len(self._rest) > LONGEST_LINE) and self._rest:
            complete.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace").removesuffix("\r") for line in complete]


@click.command()
@click.argument("reference", metavar="EXP")
@click.option("--node", help="Host or index of a node.")
@click.option("--rank", help="A rank, or all (default: the lowest).")
@click.option("--attempt", type=int, help="An earlier attempt (default: the last).")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@click.option("--grep", metavar="RE", help="Only lines that match.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last N lines.")
@global_options
@pass_settings
def logs(
    settings: Settings,
    *,
    reference: str,
    node: str | None,
    rank: str | None,
    attempt: int | None,
    follow: bool,
    grep: str | None,
    tail: int | None,
) -> None:
    """Print the log of a rank."""
    from engine.store import experiments

    pattern = _pattern(grep)
    store = settings.open_store()
    identity = experiments.resolve(store, reference)

    def ended() -> bool:
        return experiments.get(store, identity).state.ended

    over = ended()
    while not (tails := _select(store, identity, attempt, node, rank)):
        if not follow or over:
            raise NotFound(f"{identity} has no such log yet.", hint="engine show tells how it stands.")
        over = ended()
        time.sleep(POLL_SECONDS)
    if rank is None and len(tails) > 1:
        say(settings, f"rank {tails[0].rank} of {len(tails)}; --rank all shows every one.")
        tails = tails[:1]

    def fresh(*, whole: bool) -> Iterator[tuple[int, str]]:
        return (
            (each.rank, line)
            for each in tails
            for line in each.lines(whole=whole)
            if pattern is None or pattern.search(line)
        )

    show = _printer(settings, tails)
    backlog = deque(fresh(whole=not follow or over), maxlen=tail)
    for found in backlog:
        show(*found)
    while follow and not over:
        over = ended()
        for found in fresh(whole=over):
            show(*found)
        sys.stdout.flush()
        if not over:
            time.sleep(POLL_SECONDS)


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(grep) if grep else None
    except re.error as error:
        raise InvalidInput(f"--grep {grep!r} is not a regular expression: {error}.") from None


def _select(store: Store, identity: str, attempt: int | None, node: str | None, rank: str | None) -> list[LogTail]:
    """Return the logs that are meant, by rank; none where there are none yet. Raises NotFound for a wrong attempt."""
    from engine.store import attempts

    tried = {each.number: each for each in attempts.list_attempts(store, identity)}
    if attempt is not None and attempt not in tried:
        raise NotFound(f"{identity} has no attempt {attempt}.", hint=f"It has {len(tried)}.")
    number = attempt or max(tried, default=0)
    if not number:
        return []
    hosts = {placed["index"]: placed["host"] for placed in tried[number].placement}
    tails = []
    for path in (store.runs_dir / identity / f"attempt-{number}").glob("node-*/rank-*.log"):
        index, of_rank = int(path.parent.name.removeprefix("node-")), int(path.stem.removeprefix("rank-"))
        if node in (None, str(index), hosts.get(index)) and rank in (None, "all", str(of_rank)):
            tails.append(LogTail(path, of_rank))
    return sorted(tails, key=lambda tail: tail.rank)


def _printer(settings: Settings, tails: Sequence[LogTail]) -> Callable[[int, str], None]:
    escape = visible if sys.stdout.isatty() else str
    width = len(str(tails[-1].rank))

    def show(rank: int, line: str) -> None:
        if settings.json:
            print_json_line({"rank": rank, "line": line})
        elif len(tails) > 1:
            click.echo(f"{rank:>{width}} │ {escape(line)}")
        else:
            click.echo(escape(line))

    return show
