"""Objects from node to node: one serves a file or folder once, to whoever shows the token; the other one fetches it.

Plain TCP on the cluster's own network. The token is made for this one transfer and reaches both ends over SSH; what
arrives is verified by its SHA-256. The one that fetches sends two lines, the token and what it wants as JSON (number
of the file, first byte); the bytes follow, in that order.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.cluster.node.contents import BLOCK_BYTES, Content
from engine.cluster.node.objects import ROUNDS, Answer, Arrival, Progress, Tell, arriving, explained

SERVE_SECONDS = 30.0  # that a server waits for its guest, and each for the other's next bytes
CONNECT_SECONDS = 5.0
_TOKEN_SECONDS = 5.0
_MOST_TOKEN_BYTES = 256
_MOST_WANTS_BYTES = 32 << 20


class Broken(Exception):
    """The other node is not reached, or leaves off."""


@explained
def serve(tell: Tell, *, path: str, content: Mapping[str, Any], address: str, token: str) -> Answer:
    """Begin to serve a file or folder, and say on which `port`. It ends by itself: after one transfer, or when nobody
    comes.

    address: of this node in the cluster; where it has none such, it listens on all that it has.
    """
    listener = _listen(address)
    port: int = listener.getsockname()[1]
    offer = (listener, Path(path).expanduser(), Content.from_document(content), token)
    threading.Thread(target=_await_guest, args=offer, name="serve", daemon=True).start()
    return {"port": port}


@explained
def fetch(
    tell: Tell, *, workdir: str, content: Mapping[str, Any], name: str, address: str, port: int, token: str
) -> Answer:
    """Take an object in from a node that serves it. The answer is its path, and how many bytes were `received`.

    If the other node is not reached, or leaves off, the answer says so as `broken`; what came stays.
    """
    announced = Content.from_document(content)
    with arriving(workdir, announced, name, tell) as arrival:
        if isinstance(arrival, Path):
            return {"path": str(arrival), "received": 0}
        try:
            if arrival.wants():
                _fetch(arrival, Progress(tell, arrival.there), (address, port), token)
        except Broken as error:
            return {"broken": str(error), "received": arrival.received}
        return {"path": str(arrival.finish()), "received": arrival.received}


def _fetch(arrival: Arrival, progress: Progress, server: tuple[str, int], token: str) -> None:
    with _broken_if_lost(), socket.create_connection(server, CONNECT_SECONDS) as connection:
        connection.settimeout(SERVE_SECONDS)
        connection.sendall(token.encode() + b"\n")
        for _ in range(ROUNDS):
            with _of_this_disk():
                wants = arrival.wants()
            if not wants:
                return
            connection.sendall(json.dumps(wants).encode() + b"\n")
            while arrival.missing:
                data = connection.recv(min(BLOCK_BYTES, arrival.missing))
                if not data:
                    raise Broken("the connection was closed")
                with _of_this_disk():
                    arrival.feed(data)
                progress.add(len(data))


def _await_guest(listener: socket.socket, path: Path, content: Content, token: str) -> None:
    """Accept connections until one has shown the token, or the time is over; each is heard on a thread of its own."""
    taken = threading.Event()
    deadline = time.monotonic() + SERVE_SECONDS
    listener.settimeout(0.2)
    with listener:
        while not taken.is_set() and time.monotonic() < deadline:
            try:
                connection, _ = listener.accept()
            except OSError:
                continue
            guest = (connection, path, content, token, taken)
            threading.Thread(target=_serve, args=guest, name="guest", daemon=True).start()


def _serve(connection: socket.socket, path: Path, content: Content, token: str, taken: threading.Event) -> None:
    # A guest that goes, or a file that has changed, ends it; the other side says what it lacks.
    with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as requests:
        connection.settimeout(_TOKEN_SECONDS)
        shown = requests.readline(_MOST_TOKEN_BYTES).rstrip(b"\n")
        if not hmac.compare_digest(shown, token.encode()) or taken.is_set():
            return
        taken.set()
        connection.settimeout(SERVE_SECONDS)
        while True:
            line = requests.readline(_MOST_WANTS_BYTES)
            if not line:
                return
            for number, offset in json.loads(line):
                name, size, _ = content.files[number]
                with (path / name).open("rb") as file:
                    if size > offset:
                        connection.sendfile(file, offset, size - offset)


def _listen(address: str) -> socket.socket:
    """Return a listener on an address of this node if it has it, else on any."""
    with contextlib.suppress(OSError):
        family, _, _, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


class _DiskError(Exception):
    """An error of this node's disk, on its way past those of the network."""


@contextlib.contextmanager
def _of_this_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _DiskError(error) from error


@contextlib.contextmanager
def _broken_if_lost() -> Iterator[None]:
    """Tell errors of the network from those of the disk, which are OSError both."""
    try:
        yield
    except _DiskError as error:
        raise error.args[0] from None
    except OSError as error:
        raise Broken(error.strerror or str(error)) from error
