"""SSH connections by paramiko: opened within seconds, broken loudly, every error one sentence.

The kernel's TCP_USER_TIMEOUT notices a dead link, which paramiko alone never does. Neither notices a frozen program or
daemon at the far end: whoever uses a channel minds its silence.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import paramiko

from engine.cluster.channel import PIECE_BYTES, Channel
from engine.cluster.hostfile import Node
from engine.cluster.ssh_config import Jump, SSHConfig
from engine.cluster.ssh_route import HANDSHAKE_SECONDS, Route, reason
from engine.cluster.stderr_tail import StderrTail
from engine.errors import Unreachable

WINDOW_BYTES = 1 << 21
PACKET_BYTES = 1 << 15
_SEND_BYTES = 1 << 18


class SSHTransport:
    """One SSH connection to a node, with those to the jump hosts before it."""

    def __init__(self, host: str, address: str, link: paramiko.Transport, server: str, resources: ExitStack) -> None:
        self.host, self.address = host, address
        self._link, self._server, self._resources = link, server, resources
        self._cause: BaseException | None = None
        self._closing = threading.Lock()
        self.closed = False

    @classmethod
    def connect(cls, node: Node) -> Self:
        """Connect and log in as the SSH configuration says.

        Raises:
            Unreachable: if that fails, with one sentence that names host, port and cause.
            InvalidInput: if the SSH configuration cannot be used.
        """
        with ExitStack() as resources:
            endpoint, link = Route(SSHConfig.load(node.ssh_config), node.host, resources).reach(Jump(node.host))
            return cls(node.host, node.address or endpoint.hostname, link, endpoint.server, resources.pop_all())

    def open(self, command: Sequence[str]) -> Channel:
        """Start a program in the home folder there. Raises Unreachable if the node starts none."""
        try:
            channel = self._link.open_session(WINDOW_BYTES, PACKET_BYTES, timeout=HANDSHAKE_SECONDS)
        except paramiko.ChannelException as error:
            raise Unreachable(
                f"{self._server} opens no further session ({error.text}).",
                hint="sshd allows ten on a connection unless MaxSessions in its sshd_config says otherwise.",
                where=self.host,
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self.broken(error) from error
        # paramiko waits for the answer without end; a closed channel ends the wait.
        watchdog = threading.Timer(HANDSHAKE_SECONDS, channel.close)
        watchdog.daemon = True
        watchdog.start()
        try:
            channel.exec_command(command_line(command))
        except (paramiko.SSHException, EOFError, OSError) as error:
            if watchdog.finished.is_set():
                late = f"{self._server} did not start the program within {HANDSHAKE_SECONDS:g} s."
                raise Unreachable(late, where=self.host) from error
            channel.close()
            raise self.broken(error) from error
        finally:
            watchdog.cancel()
        return SSHChannel(channel, self)

    def broken(self, error: BaseException | None = None) -> Unreachable:
        """Return what to say of the broken connection."""
        self._cause = self._link.get_exception() or self._cause or error  # paramiko tells it once
        if self.closed:
            return Unreachable("the connection is closed.", where=self.host)
        if self._link.is_active() and error is not None:
            return Unreachable(f"{self._server} did not start the program ({error}).", where=self.host)
        return Unreachable(f"the connection to {self._server} broke: {reason(self._cause)}.", where=self.host)

    def close(self) -> None:
        """Close the connection and with it every channel."""
        with self._closing:
            self.closed = True
            self._resources.close()


def command_line(command: Sequence[str]) -> str:
    """Return the line for the login shell there by which exactly this program is started, in the shell's place."""
    program, *arguments = command
    quoted = f'"$HOME"{shlex.quote(program[1:])}' if program.startswith("~/") else shlex.quote(program)
    return " ".join(["exec", quoted, *map(shlex.quote, arguments)])


class SSHChannel:
    """One session of a connection, without a terminal."""

    def __init__(self, channel: paramiko.Channel, transport: SSHTransport) -> None:
        self._channel, self._transport = channel, transport
        # paramiko has one timeout for both directions, and each needs its own: wait here, and read only what is there.
        self._readable = threading.Event()
        channel.in_buffer.set_event(self._readable)
        self._ended = self._closed = False
        self._tail = StderrTail(self._read_stderr)

    def _read_stderr(self, size: int) -> bytes:
        try:
            return self._channel.recv_stderr(size)
        except (paramiko.SSHException, EOFError, OSError):
            return b""

    def send(self, data: bytes) -> None:
        """Write all of it to the program's input. Raises Unreachable if the program or the connection is gone."""
        try:
            for begin in range(0, len(data), _SEND_BYTES):
                self._channel.sendall(data[begin : begin + _SEND_BYTES])
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self._closed:
                raise Unreachable("the channel to the program is closed.", where=self._transport.host) from error
            if self._finished():
                raise Unreachable("the program there has ended.", where=self._transport.host) from error
            raise self._transport.broken() from error

    def receive(self, timeout: float) -> bytes:
        """Return what the program wrote next; empty at the end, and after `close`. Raises TimeoutError, Unreachable."""
        if not self._readable.wait(timeout):
            raise TimeoutError
        try:
            data = self._channel.recv(PIECE_BYTES)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._transport.broken() from error
        if not data and not (self._closed or self._transport.closed):
            if not self._finished():
                raise self._transport.broken()
            self._ended = True
        return data

    def _finished(self) -> bool:
        """Whether the end of the output, or of the program, was announced, and the connection not just gone."""
        return bool(self._channel.eof_received) or self._channel.exit_status >= 0

    def errors(self) -> str:
        """Return the last 4 KiB of the program's standard error."""
        return self._tail.text(ended=self._ended)

    def close(self) -> None:
        """End the program's input and forget its output."""
        self._closed = True
        try:
            self._channel.close()
        except (paramiko.SSHException, EOFError, OSError):
            return  # the connection is gone, and the channel with it
