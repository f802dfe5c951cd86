"""`engine logs`: the ranks' logs, as copied from the nodes, or with `--remote` where they lie."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.log_lines import chosen_attempt, decoded, printer, say_others
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.log_copies import Hole

POLL_SECONDS = 0.1
LONGEST_LINE = 1 << 20


class LogTail:
    """Reads the complete lines that the growing copy of a log gained since the last call."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path = path
        self.rank = rank
        self._offset = 0
        self._rest = b""

    def lines(self, *, whole: bool) -> Iterator[str | Hole]:
        """Yield new lines, and what was left out between them; with `whole`, also a last line without its newline."""
        from engine.store.log_copies import Hole, pieces

        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            size = file.seek(0, os.SEEK_END)
            if size < self._offset:
                self._offset, self._rest = 0, b""
            for piece in pieces(file.fileno(), self._offset, size):
                if isinstance(piece, Hole):
                    self._offset += piece.size
                    yield from self._end_line()
                    yield piece
                    continue
                self._offset += len(piece)
                *complete, self._rest = (self._rest + piece).split(b"\n")
                yield from map(decoded, complete)
                if len(self._rest) > LONGEST_LINE:
                    yield from self._end_line()
        if whole:
            yield from self._end_line()

    def _end_line(self) -> Iterator[str]:
        rest, self._rest = self._rest, b""
        if rest:
            yield decoded(rest)


@click.command()
@click.argument("reference", metavar="EXP")
@click.option("--node", help="Host or index of a node.")
@click.option("--rank", help="A rank, or all (default: the lowest).")
@click.option("--attempt", type=int, help="An earlier attempt (default: the last).")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@click.option("--grep", metavar="RE", help="Only lines that match.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N lines of each rank.")
@click.option("--remote", is_flag=True, help="Read, or search, the whole log on its node, and copy only these lines.")
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
    remote: bool,
) -> None:
    """Print the log of a rank."""
    from engine.store import experiments
    from engine.store.log_copies import Hole, left_out

    pattern = _pattern(grep)
    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    if remote:
        if follow:
            raise InvalidInput("--remote reads what is there now, and --follow what comes.", hint="Leave one away.")
        from engine.cli.remote_logs import print_remote_logs

        print_remote_logs(settings, store, identity, attempt=attempt, node=node, rank=rank, grep=grep or "", tail=tail)
        return

    def ended() -> bool:
        return experiments.get(store, identity).state.ended

    over = ended()
    while not (tails := _select(store, identity, attempt, node, rank)):
        if not follow or over:
            raise NotFound(f"{identity} has no such log yet.", hint="engine show tells how it stands.")
        over = ended()
        time.sleep(POLL_SECONDS)
    if rank is None and len(tails) > 1:
        say_others(settings, [each.rank for each in tails])
        tails = tails[:1]
    show = printer(settings, [each.rank for each in tails])

    def print_new(*, whole: bool, last: int | None = None) -> None:
        for each in tails:
            # A hole may have been a line that matches.
            found = (
                line
                for line in each.lines(whole=whole)
                if pattern is None or isinstance(line, Hole) or pattern.search(line)
            )
            for line in found if last is None else deque(found, maxlen=last):
                if isinstance(line, Hole):
                    show(each.rank, left_out(line.size, each.path), left_out=line.size)
                else:
                    show(each.rank, line)

    print_new(whole=not follow or over, last=tail)
    while follow and not over:
        over = ended()
        print_new(whole=over)
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
    tried = chosen_attempt(store, identity, attempt)
    if tried is None:
        return []
    hosts = {placed["index"]: placed["host"] for placed in tried.placement}
    tails = []
    for path in (store.runs_dir / identity / f"attempt-{tried.number}").glob("node-*/rank-*.log"):
        index, of_rank = int(path.parent.name.removeprefix("node-")), int(path.stem.removeprefix("rank-"))
        if node in (None, str(index), hosts.get(index)) and rank in (None, "all", str(of_rank)):
            tails.append(LogTail(path, of_rank))
    return sorted(tails, key=lambda tail: tail.rank)
