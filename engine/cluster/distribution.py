"""One object to all nodes that lack it: from this machine, or from node to node where that saves sending it again."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.cluster.hostfile import Node
from engine.cluster.node.contents import Content
from engine.cluster.session import NodeSession, Piece
from engine.errors import Refused, RunFailed, Unreachable
from engine.plan.sizes import in_words

PIECE_BYTES = 1 << 20
WINDOW_BYTES = 8 << 20  # that are under way to a node, so that its answers never hold the next piece up
_REPORT_SECONDS = 0.2
_RATE_SECONDS = 3.0

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, eq=False)
class Far:
    """A node with a session of its own. One thread at a time asks it."""

    node: Node
    address: str  # by which other nodes reach it
    session: NodeSession
    workdir: str

    @property
    def host(self) -> str:
        """Its name in the hostfile."""
        return self.node.host

    def ask(self, operation: str, on_piece: Piece | None = None, **arguments: Any) -> Mapping[str, Any]:
        """Ask for what may take long. Raises Unreachable, RunFailed."""
        return self.session.ask(operation, seconds=None, on_piece=on_piece, **arguments)

    def read(self, operation: str, on_piece: Piece | None = None, **arguments: Any) -> Mapping[str, Any]:
        """Ask for something about an input. Raises Unreachable, and Refused if the input cannot be taken."""
        try:
            return self.ask(operation, on_piece, **arguments)
        except RunFailed as error:
            raise Refused(error.message, hint=error.hint, where=error.where) from error


def all_of(futures: Sequence[Future[Value]]) -> list[Value]:
    """Wait for all, or for the first that fails, and return what they return."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
    return [future.result() for future in futures]


@dataclass(frozen=True, slots=True)
class Item:
    """Something that nodes lack. `path` is how the spec calls it; `here`: it is on this machine."""

    path: str
    name: str
    content: Content
    here: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far staging is. nodes: (bytes that are there, bytes in all) by host."""

    doing: str
    name: str
    nodes: Mapping[str, tuple[int, int]]
    rate: float  # bytes a second, all nodes together

    def sentence(self) -> str:
        """Return it for people: "sending llama: 12.4 GB of 26.1 GB to 3 nodes, 110.0 MB/s"."""
        there, size = (sum(pair[which] for pair in self.nodes.values()) / len(self.nodes) for which in (0, 1))
        to = f"{len(self.nodes)} nodes" if len(self.nodes) > 1 else next(iter(self.nodes))
        rate = f", {in_words(self.rate)}/s" if self.rate else ""
        return f"{self.doing} {self.name}: {in_words(there)} of {in_words(size)} {_WHERE[self.doing]} {to}{rate}"


SENDING, HASHING, BRINGING = "sending", "hashing", "bringing"
_WHERE = {SENDING: "to", HASHING: "on", BRINGING: "from"}
Report = Callable[[Progress], None]


class Tally:
    """Counts bytes of one object on all nodes, and reports now and then. All threads may use it."""

    def __init__(self, doing: str, name: str, sizes: Mapping[str, int], report: Report) -> None:
        self._doing, self._name, self._sizes, self._report = doing, name, sizes, report
        self._there = dict.fromkeys(sizes, 0)
        self._lock = threading.Lock()
        self._told = 0.0
        self._past: deque[tuple[float, int]] = deque()

    def add(self, host: str, count: int) -> None:
        """Note further bytes."""
        self.set(host, self._there[host] + count)

    def set(self, host: str, there: int) -> None:
        """Note the bytes that are there."""
        with self._lock:
            self._there[host] = there
            now = time.monotonic()
            if now - self._told < _REPORT_SECONDS and there < self._sizes[host]:
                return
            self._told = now
            total = sum(self._there.values())
            self._past.append((now, total))
            while now - self._past[0][0] > _RATE_SECONDS:
                self._past.popleft()
            began, before = self._past[0]
            rate = (total - before) / (now - began) if now > began else 0.0
            nodes = {each: (self._there[each], size) for each, size in self._sizes.items()}
            self._report(Progress(self._doing, self._name, nodes, max(0.0, rate)))


class Distribution:
    """Brings one item to nodes."""

    def __init__(self, item: Item, wanting: Sequence[Far], report: Report) -> None:
        self._item, self._wanting = item, wanting
        self._tally = Tally(SENDING, item.name, {far.host: item.content.size for far in wanting}, report)
        self.sent = 0  # bytes from this machine
        self.fetched = 0  # bytes from node to node
        self._counting = threading.Lock()

    def to_each(self, pool: ThreadPoolExecutor) -> None:
        """Send it to every node from here, all at once. Raises Unreachable, RunFailed, Refused."""
        all_of([pool.submit(self._send, far) for far in self._wanting])

    def spread(self, pool: ThreadPoolExecutor, sources: Sequence[tuple[Far, str]]) -> None:
        """Let the nodes fetch it from those that have it; each that has it serves the next one.

        From here it is sent once, if no node has it yet; and to nodes that do not reach those that have it.

        sources: nodes that have it, and the path there.

        Raises:
            Unreachable, RunFailed, Refused: if a node cannot get it.
        """
        idle, waiting = list(sources), deque(self._wanting)
        running: dict[Future[str | None], tuple[Far, tuple[Far, str] | None]] = {}
        while waiting or running:
            while waiting and idle:
                source, far = idle.pop(0), waiting.popleft()
                running[pool.submit(self._fetch, far, *source)] = (far, source)
            if waiting and not running:
                far = waiting.popleft()
                running[pool.submit(self._send, far)] = (far, None)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                far, used = running.pop(future)
                path = future.result()
                if used is not None:
                    idle.append(used)
                if path is not None:
                    idle.append((far, path))
                else:
                    running[pool.submit(self._send, far)] = (far, None)

    def _send(self, far: Far) -> str:
        """Send it to one node, what is missing there, and return its path."""
        sender = _Sender(far, self._item, lambda there: self._tally.set(far.host, there))
        answer = far.ask(
            "receive",
            on_piece=sender.hear,
            workdir=far.workdir,
            content=self._item.content.document(),
            name=self._item.name,
            transfer=sender.transfer,
        )
        with self._counting:
            self.sent += sender.sent
        return str(answer["path"])

    def _fetch(self, far: Far, source: Far, path: str) -> str | None:
        """Let one node fetch it from another, and return its path; None if the two do not reach each other."""
        token = secrets.token_hex(32)
        content = self._item.content.document()
        port = source.ask("serve", path=path, content=content, address=source.address, token=token)["port"]
        answer = far.ask(
            "fetch",
            on_piece=lambda header, _: self._tally.set(far.host, int(header["there"])),
            workdir=far.workdir,
            content=content,
            name=self._item.name,
            address=source.address,
            port=port,
            token=token,
        )
        with self._counting:
            self.fetched += int(answer["received"])
        if "broken" not in answer:
            return str(answer["path"])
        if not self._item.here:
            raise Unreachable(
                f"cannot fetch {self._item.path} from {source.host} ({source.address}:{port}): {answer['broken']}.",
                hint="The nodes must reach each other; name the address with address= in the hostfile.",
                where=far.host,
            )
        return None


class _Sender:
    """Sends what a node says that it lacks, as fast as it takes it."""

    def __init__(self, far: Far, item: Item, on_progress: Callable[[int], None]) -> None:
        self.transfer = secrets.token_hex(8)
        self.sent = 0
        self._far, self._item, self._on_progress = far, item, on_progress
        self._pieces: Iterator[bytes] = iter(())
        self._number = 0

    def hear(self, header: Mapping[str, Any], _: bytes) -> None:
        """Take an answer of the node, and send on."""
        written = int(header.get("written", self.sent))
        if "wants" in header:
            self._pieces = self._read(header["wants"])
        self._on_progress(int(header["there"]))
        while self.sent - written < WINDOW_BYTES:
            piece = next(self._pieces, b"")
            if not piece:
                return
            self._far.session.tell("piece", piece, transfer=self.transfer, number=self._number)
            self._number += 1
            self.sent += len(piece)

    def _read(self, wants: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes that are wanted, files one behind the other, in pieces of one size."""
        root = Path(self._item.path).expanduser()
        piece = bytearray()
        for number, offset in wants:
            name, size, _ = self._item.content.files[number]
            with (root / name).open("rb") as file:
                file.seek(offset)
                rest = size - offset
                while rest:
                    block = file.read(min(PIECE_BYTES - len(piece), rest))
                    if not block:
                        raise Refused(f"{root / name} changed while it was sent.")
                    rest -= len(block)
                    piece += block
                    if len(piece) == PIECE_BYTES:
                        yield bytes(piece)
                        piece.clear()
        if piece:
            yield bytes(piece)
