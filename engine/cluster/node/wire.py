"""The network between nodes, tried: a listener on each, and connections to it from the others.

A connection begins with one line, the listener's token and what is wanted of it; the listener answers with the token,
so that each knows that it talks to the other. `ping`: it sends back what it gets. `sink`: it reads to the end, and says
how many bytes came in which time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Dict, Optional, Tuple  # noqa: UP035, for Python 3.9

from engine.cluster.node.launching import Tell

ANSWER_SECONDS = 5.0
MOST_TRIPS, LEAST_TRIPS, TRIPS_SECONDS = 100, 9, 1.0
_PIECE_BYTES = 1 << 20
_LINE_BYTES = 256
_SIOCGIFADDR = 0x8915

Target = Mapping[str, Any]  # name, address, port, token
Source = Optional[Tuple[str, int]]  # noqa: UP006, UP045


def listen(tell: Tell, *, lasting: float) -> Mapping[str, Any]:
    """Open a listener for the next `lasting` seconds; return its `port` and `token`."""
    if socket.has_dualstack_ipv6():
        listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
    else:
        listener = socket.create_server(("", 0), backlog=256)
    port, token = listener.getsockname()[1], os.urandom(16).hex()
    deadline = time.monotonic() + lasting
    threading.Thread(target=_serve, args=(listener, token, deadline), name="listener", daemon=True).start()
    return {"port": port, "token": token}


def reach(
    tell: Tell, *, targets: Sequence[Target], interface: str | None = None, within: float = ANSWER_SECONDS
) -> Mapping[str, Any]:
    """Connect to all listeners at once; return the seconds of a round trip to those `reached`, and a sentence on the
    `missed` ones, by name."""
    reached: dict[str, float] = {}
    missed: dict[str, str] = {}
    source = _source(interface)

    def try_one(target: Target) -> None:
        try:
            with _connected(target, "ping", source, within) as sock:
                reached[target["name"]] = _round_trip(sock)
        except OSError as error:
            missed[target["name"]] = _sentence(error, target, within)

    threads = [threading.Thread(target=try_one, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"reached": reached, "missed": missed}


def latency(tell: Tell, *, target: Target, interface: str | None = None) -> Mapping[str, Any]:
    """Return as `value` the median seconds of small round trips to a listener, or a `problem`."""
    try:
        with _connected(target, "ping", _source(interface), ANSWER_SECONDS) as sock:
            trips: list[float] = []
            until = time.monotonic() + TRIPS_SECONDS
            while len(trips) < LEAST_TRIPS or (len(trips) < MOST_TRIPS and time.monotonic() < until):
                trips.append(_round_trip(sock))
    except OSError as error:
        return {"problem": _sentence(error, target, ANSWER_SECONDS)}
    steady = sorted(trips[len(trips) // 2 :])  # the first ones warm caches and clocks up
    return {"value": steady[len(steady) // 2]}


def throughput(
    tell: Tell, *, target: Target, interface: str | None = None, during: float = 1.0, streams: int = 4
) -> Mapping[str, Any]:
    """Return as `value` the bytes a second that arrive at a listener over several connections, or a `problem`."""
    source = _source(interface)
    counts: list[dict[str, Any]] = []
    problems: list[str] = []
    together = threading.Barrier(streams, timeout=2 * ANSWER_SECONDS)

    def pour() -> None:
        try:
            with _connected(target, "sink", source, ANSWER_SECONDS) as sock:
                together.wait()
                counts.append(_poured(sock, during))
        except OSError as error:
            together.abort()
            problems.append(_sentence(error, target, ANSWER_SECONDS))
        except (threading.BrokenBarrierError, ValueError):
            pass  # another stream tells why

    threads = [threading.Thread(target=pour, daemon=True) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems or len(counts) < streams:
        return {"problem": (problems or [f"the connection to {target['name']} broke"])[0]}
    return {"value": sum(count["bytes"] / max(count["seconds"], 1e-9) for count in counts)}


def _poured(sock: socket.socket, seconds: float) -> dict[str, Any]:
    """Send for so long and return what the listener counted."""
    piece = memoryview(bytes(_PIECE_BYTES))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # In small steps: a slow link takes a while for the whole piece, and its buffers must empty in time.
        sock.send(piece[:65536])
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(seconds + 4 * ANSWER_SECONDS)
    count: dict[str, Any] = json.loads(_line(sock))
    return count


def _connected(target: Target, wish: str, source: Source, seconds: float) -> socket.socket:
    """Return a connection to a listener that has shown that it is the right one. Raises OSError."""
    sock = socket.create_connection((target["address"], target["port"]), seconds, source_address=source)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(f"{target['token']} {wish}\n".encode())
        if _line(sock) != target["token"]:
            raise ConnectionAbortedError("something else answers")
    except BaseException:
        sock.close()
        raise
    return sock


def _round_trip(sock: socket.socket) -> float:
    """Return the seconds that a byte takes there and back."""
    began = time.perf_counter()
    sock.sendall(b".")
    if not sock.recv(1):
        raise ConnectionResetError
    return time.perf_counter() - began


def _serve(listener: socket.socket, token: str, deadline: float) -> None:
    with listener:
        while time.monotonic() < deadline:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_answer, args=(sock, token, deadline), daemon=True).start()


def _answer(sock: socket.socket, token: str, deadline: float) -> None:
    with sock, contextlib.suppress(OSError):
        sock.settimeout(ANSWER_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        given, _, wish = _line(sock).partition(" ")
        if given != token:
            return
        sock.sendall(f"{token}\n".encode())
        sock.settimeout(max(ANSWER_SECONDS, deadline - time.monotonic()))
        answers: Dict[str, Callable[[socket.socket], None]] = {"ping": _echo, "sink": _sink}  # noqa: UP006
        answers.get(wish, _echo)(sock)


def _echo(sock: socket.socket) -> None:
    while True:
        data = sock.recv(_LINE_BYTES)
        if not data:
            return
        sock.sendall(data)


def _sink(sock: socket.socket) -> None:
    room = bytearray(_PIECE_BYTES)
    count, began = 0, 0.0
    while True:
        received = sock.recv_into(room)
        if not received:
            break
        began = began or time.perf_counter()
        count += received
    sock.sendall(json.dumps({"bytes": count, "seconds": time.perf_counter() - began}).encode() + b"\n")


def _line(sock: socket.socket) -> str:
    """Read one line, byte by byte: what follows belongs to others. Raises OSError."""
    line = bytearray()
    while len(line) < _LINE_BYTES:
        byte = sock.recv(1)
        if not byte:
            raise ConnectionResetError
        if byte == b"\n":
            break
        line += byte
    return line.decode("utf-8", "replace")


def _source(interface: str | None) -> Source:
    """Return whence to connect so that an interface is used; None: as the system routes."""
    if interface is None:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return None  # it is not there, which the probe says, or this is not Linux
        return socket.inet_ntoa(answer[20:24]), 0


def _sentence(error: OSError, target: Target, seconds: float) -> str:
    place = f"{target['address']}:{target['port']}"
    if isinstance(error, socket.gaierror):
        return f"the name {target['address']} cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return f"{place} refuses the connection"
    if isinstance(error, ConnectionAbortedError):
        return f"{target['address']} is another machine than {target['name']}"
    if isinstance(error, socket.timeout):
        return f"{place} does not answer within {seconds:g} s"
    if isinstance(error, ConnectionResetError):
        return f"{place} closes the connection"
    return f"{place} cannot be reached: {error.strerror or error}"
