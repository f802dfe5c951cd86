"""Carries Ethernet frames between two interfaces, later than they came, and not all of them.

What netem does in the kernel, for kernels without it and users without root. Frames keep the header in which the kernel
hands checksums and segmentation on (PACKET_VNET_HDR), so that large ones pass whole.
"""

from __future__ import annotations

import os
import random
import select
import socket
import time
from collections import deque

_EVERY_PROTOCOL = 3
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_BUFFER_BYTES = 1 << 22
_LARGEST = 1 << 17  # bytes of a frame, more than any
_MOST_WAITING = 10_000  # frames each way; what comes beyond is lost, as in any queue


def start(one: str, other: str, delay: float, loss: float) -> int:
    """Begin to carry; return the process that does. delay: seconds each way. loss: share of the frames, 0 to 1."""
    ends = (_socket(one), _socket(other))
    pid = os.fork()
    if pid:
        for end in ends:
            end.close()
        return pid
    try:
        _carry(ends, delay, loss)
    finally:
        os._exit(1)


def _socket(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    end.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    end.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    end.bind((interface, _EVERY_PROTOCOL))
    end.setblocking(False)
    return end


def _carry(ends: tuple[socket.socket, socket.socket], delay: float, loss: float) -> None:
    waiting: tuple[deque[tuple[float, bytes]], ...] = (deque(), deque())  # what came in by each end, and when it is due
    while True:
        due = min((queue[0][0] for queue in waiting if queue), default=None)
        ready, _, _ = select.select(ends, [], [], None if due is None else max(0.0, due - time.monotonic()))
        now = time.monotonic()
        for end, queue in zip(ends, waiting, strict=True):
            if end in ready:
                _take(end, queue, now + delay, loss)
        for end, queue in zip(reversed(ends), waiting, strict=True):
            while queue and queue[0][0] <= now:
                _, frame = queue.popleft()
                try:
                    end.send(frame)
                except OSError:
                    continue  # the link is cut, or its queue full: the frame is lost


def _take(end: socket.socket, queue: deque[tuple[float, bytes]], due: float, loss: float) -> None:
    while True:
        try:
            frame = end.recv(_LARGEST)
        except OSError:
            return
        if random.random() >= loss and len(queue) < _MOST_WAITING:
            queue.append((due, frame))
