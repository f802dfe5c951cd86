"""The one connection to a node: kept up by a thread, with the companion at its far end."""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.cluster.channel import Channel, Transport
from engine.cluster.frames import FrameReader
from engine.cluster.hostfile import Node
from engine.cluster.session import NodeSession, hung_up, open_companion
from engine.errors import PlumblineError, Unreachable

SILENCE_SECONDS = 6.0  # without even a beat, the link is taken for dead
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 5.0  # between tries to connect
_TICK_SECONDS = 0.05  # the longest that a request waits while nothing comes in
MOST_UNREAD = 64  # messages of one link that wait in the inbox: one with a long backlog must not hold up the others


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
        self._unread = threading.Semaphore(MOST_UNREAD)
        self._transport: Transport | None = None  # while it is up
        self._thread = threading.Thread(target=self._keep_up, name=f"link {node.host}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def take(self, message: Message) -> None:
        """Note what a message of this link says about it. Whoever reads the inbox calls it for every message."""
        self._unread.release()
        if isinstance(message, LinkDown):
            self.connected, self.problem = False, message.error
            return
        self.heard_at = time.monotonic()
        if isinstance(message, LinkUp):
            self.connected, self.address, self.problem = True, message.address, None

    def session(self) -> NodeSession:
        """Open a companion of one's own over the same connection, for what takes long. Any thread may.

        Raises:
            Unreachable: if the link is down, or the node starts none.
        """
        transport = self._transport
        if transport is None:
            raise Unreachable("is not connected.", where=self.node.host)
        return NodeSession.over(transport, self.node.python)

    def close(self) -> None:
        """Let the connection go; what runs there goes on."""
        self._closed.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end after `close`."""
        self._thread.join(timeout)

    def request(self, operation: str, **arguments: Any) -> None:
        """Send a request as soon as the link is up. It is lost with the connection; whoever needs it asks again."""
        self._requests.put(json.dumps({"do": operation, **arguments}).encode() + b"\n")

    def _tell(self, message: Message) -> None:
        """Put a message into the inbox, once there is room for one more of this link."""
        while not self._unread.acquire(timeout=_TICK_SECONDS):
            if self._closed.is_set():
                return
        self._inbox.put(message)

    def _keep_up(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closed.is_set():
            try:
                transport = self._connect(self.node)
                try:
                    channel = open_companion(transport, self.node.python)
                    pause = FIRST_PAUSE_SECONDS
                    try:
                        self._transport = transport
                        self._serve(channel, transport.address)
                    finally:
                        channel.close()
                finally:
                    self._transport = None
                    transport.close()
            except PlumblineError as error:
                self._tell(LinkDown(self, error))
            except Exception as error:
                # A fault of ours, or of a library, on one link must not end it for good.
                fault = Unreachable(f"{type(error).__name__}: {error}", where=self.node.host)
                self._tell(LinkDown(self, fault))
            self._closed.wait(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _serve(self, channel: Channel, address: str) -> None:
        reader = FrameReader()
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
                raise hung_up(channel, self.node.host, self.node.python, greeted=greeted)
            silent_since = time.monotonic()
            for header, body in reader.feed(data):
                if not greeted:
                    greeted = True
                    while not self._requests.empty():
                        self._requests.get()  # asked on an earlier connection
                    self._tell(LinkUp(self, address))
                self._tell(Frame(self, header, body))
