"""The stream of a companion's answers: a JSON object a line, some with bytes after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from engine.errors import Unreachable

_MOST_HEADER_BYTES = 16 << 20


def encode(header: dict[str, Any], data: bytes = b"") -> bytes:
    """Return a request as the companion reads it."""
    sized = {**header, "size": len(data)} if data else header
    return json.dumps(sized).encode() + b"\n" + data


class FrameReader:
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
