"""`engine logs`: the ranks' logs, as copied from the nodes."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from pathlib import Path

import click

from engine.cli.output import print_json_line, say, visible
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound

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


def _select(folder: Path, node: str | None, rank: str | None, hosts: dict[int, str]) -> list[LogTail]:
    tails = []
    for path in folder.glob("node-*/rank-*.log"):
        index, number = int(path.parent.name.removeprefix("node-")), int(path.stem.removeprefix("rank-"))
        if node is not None and node not in (str(index), hosts.get(index)):
            continue
        if rank not in (None, "all", str(number)):
            continue
        tails.append(LogTail(path, number))
    return sorted(tails, key=lambda tail: tail.rank)


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
    reference: str,
    node: str | None,
    rank: str | None,
    attempt: int | None,
    follow: bool,
    grep: str | None,
    tail: int | None,
) -> None:
    """Print the log of a rank."""
    from engine.store import attempts, experiments

    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise InvalidInput(f"--grep {grep!r} is not a regular expression: {error}.") from None
    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    tried = {each.number: each for each in attempts.list_attempts(store, identity)}
    if attempt is not None and attempt not in tried:
        raise NotFound(f"{identity} has no attempt {attempt}.", hint=f"It has {len(tried)}.")

    def ended() -> bool:
        return experiments.get(store, identity).state.ended

    over = ended()
    tails: list[LogTail] = []
    while not tails:
        tried = {each.number: each for each in attempts.list_attempts(store, identity)}
        number = attempt or max(tried, default=0)
        if number:
            hosts = {placed["index"]: placed["host"] for placed in tried[number].placement}
            tails = _select(store.runs_dir / identity / f"attempt-{number}", node, rank, hosts)
        if tails:
            break
        if not follow or over:
            raise NotFound(f"{identity} has no such log yet.", hint="engine show tells how it stands.")
        over = ended()
        time.sleep(POLL_SECONDS)
    if rank is None and len(tails) > 1:
        say(settings, f"rank {tails[0].rank} of {len(tails)}; --rank all shows every one.")
        tails = tails[:1]

    escape = visible if sys.stdout.isatty() else str
    width = len(str(tails[-1].rank))

    def show(rank_number: int, line: str) -> None:
        if settings.json:
            print_json_line({"rank": rank_number, "line": line})
        elif len(tails) > 1:
            click.echo(f"{rank_number:>{width}} │ {escape(line)}")
        else:
            click.echo(escape(line))

    backlog: deque[tuple[int, str]] = deque(maxlen=tail)
    for each in tails:
        lines = each.lines(whole=not follow or over)
        backlog.extend((each.rank, line) for line in lines if not pattern or pattern.search(line))
    for rank_number, line in backlog:
        show(rank_number, line)
    while follow and not over:
        over = ended()
        for each in tails:
            for line in each.lines(whole=over):
                if not pattern or pattern.search(line):
                    show(each.rank, line)
        sys.stdout.flush()
        if not over:
            time.sleep(POLL_SECONDS)
