"""This machine as a node: programs are started as plain subprocesses, each in a session of its own."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from engine.cluster.channel import PIECE_BYTES, Channel
from engine.cluster.hostfile import Node
from engine.cluster.stderr_tail import StderrTail
from engine.errors import Unreachable

LOOPBACK = "127.0.0.1"


class LocalTransport:
    """The way to this machine itself."""

    def __init__(self, node: Node) -> None:
        self.host = node.host
        self.address = node.address or LOOPBACK
        self._opening = threading.Lock()
        self._channels: list[LocalChannel] = []

    def open(self, command: Sequence[str]) -> Channel:
        """Start a program in the home folder. Raises Unreachable if there is none such."""
        program = str(Path(command[0]).expanduser()) if command[0].startswith("~/") else command[0]
        home = Path.home()
        try:
            process = subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=home if home.is_dir() else "/",
                start_new_session=True,
            )
        except OSError as error:
            raise Unreachable(f"cannot start {program}: {error.strerror}.", where=self.host) from error
        channel = LocalChannel(process, self.host)
        with self._opening:
            self._channels = [other for other in self._channels if not other.closed] + [channel]
        return channel

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            channel.close()


class LocalChannel:
    """The pipes of one subprocess."""

    def __init__(self, process: subprocess.Popen[bytes], host: str) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process, self._host = process, host
        self._stdin, self._stdout = process.stdin, process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        self._wake, self._waker = os.pipe()  # becomes readable, for good, when the channel is closed
        self._sending, self._receiving, self._closing = threading.Lock(), threading.Lock(), threading.Lock()
        self._ended = self.closed = False
        self._tail = StderrTail(process.stderr.read, self._reap)

    def _reap(self) -> None:
        """Take note of the program's end, which is near when it has closed its standard error."""
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._process.wait()

    def send(self, data: bytes) -> None:
        """Write all of it to the program's input. Raises Unreachable if the program is gone."""
        with self._sending:
            view = memoryview(data)
            while view:
                if self.closed or not self._wait(self._stdin.fileno(), select.POLLOUT, None):
                    raise Unreachable("the channel to the program is closed.", where=self._host)
                try:
                    view = view[os.write(self._stdin.fileno(), view) :]
                except BlockingIOError:  # there is room, but for less than a piece that must be written whole
                    time.sleep(0.01)
                except BrokenPipeError:
                    raise Unreachable("the program there has ended.", where=self._host) from None

    def receive(self, timeout: float) -> bytes:
        """Return what the program wrote next; empty at the end, and after `close`. Raises TimeoutError."""
        with self._receiving:
            if self.closed or not self._wait(self._stdout.fileno(), select.POLLIN, timeout):
                return b""
            data = os.read(self._stdout.fileno(), PIECE_BYTES)
            self._ended = not data
            return data

    def _wait(self, descriptor: int, event: int, timeout: float | None) -> bool:
        """Wait until the descriptor is ready; return whether it is, and not the channel closed."""
        poll = select.poll()
        poll.register(descriptor, event)
        poll.register(self._wake, select.POLLIN)
        ready = poll.poll(None if timeout is None else max(0, round(timeout * 1000)))
        if not ready:
            raise TimeoutError
        return self._wake not in (found for found, _ in ready)

    def errors(self) -> str:
        """Return the last 4 KiB of the program's standard error."""
        return self._tail.text(ended=self._ended)

    def close(self) -> None:
        """End the program's input and forget its output."""
        with self._closing:
            if self.closed:
                return
            self.closed = True
            os.close(self._waker)  # a hang-up is readable
            with self._sending, self._receiving:
                self._stdin.close()
                self._stdout.close()
                os.close(self._wake)
