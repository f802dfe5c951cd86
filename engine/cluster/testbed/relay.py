"""Connects standard input and output to ADDRESS PORT, as an SSH ProxyCommand does. The standard library alone."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

SECONDS = 8  # without an answer, until a connection counts as dead
_PIECE = 65536


def main(address: str, port: str) -> None:
    """Carry bytes until either side ends."""
    try:
        sock = socket.create_connection((address, int(port)), SECONDS)
    except OSError as error:
        sys.exit(f"{address} port {port}: {error.strerror or error}")
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SECONDS * 1000)

    def carry_out() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(0, _PIECE):
                sock.sendall(data)
        os._exit(0)

    threading.Thread(target=carry_out, daemon=True).start()
    try:
        while data := sock.recv(_PIECE):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    except OSError as error:
        sys.stderr.write(f"{address} port {port}: {error.strerror or error}\n")
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
