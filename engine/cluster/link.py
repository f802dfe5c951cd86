"""The one connection to a node: kept up by a thread, with the companion at its far end."""

from __future__ import annotations

import contextlib
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.cluster.channel import Channel, Transport
from engine.cluster.hostfile import Node
from engine.errors import PlumblineError, Unreachable

SILENCE_SECONDS = 6.0  # without even a beat, the link is taken for dead
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 5.0  # between tries to connect
_TICK_SECONDS = 0.05  # the longest that a request waits while nothing comes in
_LAST_WORDS_SECONDS = 2.0  # until the end of a program that reads no more is seen
_MOST_HEADER_BYTES = 1 << 20
_BOOTSTRAP = (
    "import json,os,sys,types\n"
    "size,text=int(sys.argv[1]),b''\n"
    "while len(text)<size:\n"
    "  text+=os.read(0,size-len(text)) or sys.exit('the connection was closed')\n"
    "for name,source in json.loads(text):\n"
    "  module=types.ModuleType(name);sys.modules[name]=module;exec(compile(source,name,'exec'),module.__dict__)\n"
    "module.main()"
)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The companion answers. address: by which other nodes reach this one."""

    link: NodeLink
    address: str


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The node cannot be reached, or not any more; tries go on."""

    link: NodeLink
    error: PlumblineError


@dataclass(frozen=True, slots=True)
class Frame:
    """What the companion sent."""

    link: NodeLink
    header: Mapping[str, Any]
    data: bytes = field(default=b"", repr=False)


Message = LinkUp | LinkDown | Frame


def _companion() -> bytes:
    """Return the companion's modules as the bootstrap reads them."""
    here = Path(__file__).parent
    sources = [["engine", ""], ["engine.cluster", ""]]
    sources += [[f"engine.cluster.{name}", (here / f"{name}.py").read_text("utf-8")] for name in ("agent", "companion")]
    return json.dumps(sources).encode()


class NodeLink:
    """A node as the dispatcher sees it: requests go out, messages come into the inbox, tries to connect never end."""

    def __init__(self, node: Node, inbox: queue.Queue[Message], connect: Callable[[Node], Transport]) -> None:
        self.node = node
        # As of the last message that was taken from the inbox; `take` keeps them.
        self.connected = False
        self.address = ""  # by which other nodes reach it
        self.problem: PlumblineError | None = None
        self.heard_at: float | None = None  # monotonic seconds
        self._inbox, self._connect = inbox, connect
        self._requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name=f"link {node.host}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def take(self, message: Message) -> None:
        """Note what a message of this link says about it. Whoever reads the inbox calls it for every message."""
        if isinstance(message, LinkDown):
            self.connected, self.problem = False, message.error
            return
        self.heard_at = time.monotonic()
        if isinstance(message, LinkUp):
            self.connected, self.address, self.problem = True, message.address, None

    def close(self) -> None:
        """Let the connection go; what runs there goes on."""
        self._closed.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end after `close`."""
        self._thread.join(timeout)

    def request(self, operation: str, **arguments: Any) -> None:
        """Send a request as soon as the link is up. It is lost with the connection; whoever needs it asks again."""
        self._requests.put(json.dumps({"do": operation, **arguments}).encode() + b"\n")

    def _keep_up(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closed.is_set():
            try:
                transport = self._connect(self.node)
                try:
                    channel = self._open(transport)
                    pause = FIRST_PAUSE_SECONDS
                    try:
                        self._serve(channel, transport.address)
                    finally:
                        channel.close()
                finally:
                    transport.close()
            except PlumblineError as error:
                self._inbox.put(LinkDown(self, error))
            except Exception as error:
                # A fault of ours, or of a library, on one link must not end it for good.
                fault = Unreachable(f"{type(error).__name__}: {error}", where=self.node.host)
                self._inbox.put(LinkDown(self, fault))
            self._closed.wait(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _open(self, transport: Transport) -> Channel:
        program = _companion()
        channel = transport.open([self.node.python, "-I", "-S", "-c", _BOOTSTRAP, str(len(program))])
        try:
            channel.send(program)
        except Unreachable:
            # It may have ended before it read anything; then its own words tell more than a broken pipe.
            with contextlib.suppress(TimeoutError):
                if not channel.receive(_LAST_WORDS_SECONDS):
                    raise self._hung_up(channel, greeted=False) from None
            raise
        return channel

    def _serve(self, channel: Channel, address: str) -> None:
        reader = _FrameReader()
        silent_since = time.monotonic()
        greeted = False
        while not self._closed.is_set():
            while greeted and not self._requests.empty():
                channel.send(self._requests.get())
            try:
                data = channel.receive(_TICK_SECONDS)
            except TimeoutError:
                if time.monotonic() - silent_since > SILENCE_SECONDS:
                    raise Unreachable(f"nothing was heard for {SILENCE_SECONDS:.0f} s.", where=self.node.host) from None
                continue
            if not data:
                raise self._hung_up(channel, greeted=greeted)
            silent_since = time.monotonic()
            for header, body in reader.feed(data):
                if not greeted:
                    greeted = True
                    while not self._requests.empty():
                        self._requests.get()  # asked on an earlier connection
                    self._inbox.put(LinkUp(self, address))
                self._inbox.put(Frame(self, header, body))

    def _hung_up(self, channel: Channel, *, greeted: bool) -> Unreachable:
        said = channel.errors().strip().splitlines()
        if greeted:
            return Unreachable("the connection was closed.", where=self.node.host)
        return Unreachable(
            f"{self.node.python} could not be started there: {said[-1] if said else 'it says nothing'}.",
            hint="Name the node's Python with python= in the hostfile.",
            where=self.node.host,
        )


class _FrameReader:
    """Cuts a stream of bytes into headers and their data."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: dict[str, Any] | None = None

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield what is complete. Raises Unreachable if it is no stream of a companion's."""
        self._buffer += data
        while True:
            if self._header is None:
                line, newline, _ = self._buffer.partition(b"\n")
                if not newline:
                    if len(self._buffer) > _MOST_HEADER_BYTES:
                        raise Unreachable("the node sends something that is not a companion's answer.")
                    return
                del self._buffer[: len(line) + 1]
                try:
                    self._header = json.loads(line)
                except ValueError:
                    shown = bytes(line[:120]).decode("utf-8", "replace")
                    raise Unreachable(
                        f"the login shell prints {shown!r} before the command runs.",
                        hint="Make its start-up files silent for sessions without a terminal.",
                    ) from None
            assert self._header is not None
            size = int(self._header.get("size", 0))
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[:size])
            del self._buffer[:size]
            header, self._header = self._header, None
            yield header, body
