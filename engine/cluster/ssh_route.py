"""The way to an SSH server: straight, over jump hosts, or by a ProxyCommand; each hop verified and logged in to."""

from __future__ import annotations

import errno
import logging
import random
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import BinaryIO

import paramiko

from engine.cluster.ssh_config import Endpoint, Jump, SSHConfig
from engine.cluster.ssh_login import authenticate, known_hosts_of, prefer_known_types, verify_host_key
from engine.errors import Unreachable

DEAD_LINK_SECONDS = 8
KEEPALIVE_SECONDS = 2
HANDSHAKE_SECONDS = 10.0  # each for the banner, the key exchange, the login, and the start of a program
CONNECTS_AT_ONCE = 8  # sshd drops some of more than ten that have not logged in (MaxStartups)
DROPPED_TRIES = 5
MAX_HOPS = 8

# Without a handler, paramiko's warnings would be printed over the terminal UI.
_log = logging.getLogger("paramiko")
_log.addHandler(logging.NullHandler())
_log.propagate = False

_connecting = threading.BoundedSemaphore(CONNECTS_AT_ONCE)


def reason(error: BaseException | None) -> str:
    """Return in words why a connection broke."""
    if error is None or isinstance(error, EOFError):
        return "it was closed at the far end"
    if isinstance(error, TimeoutError):
        return f"nothing came back for {DEAD_LINK_SECONDS} s"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "there is no route to it"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words.strip().rstrip(".") or type(error).__name__


class Route:
    """Makes the connections to a host, hop by hop; what it opens is closed with `resources`."""

    def __init__(self, config: SSHConfig, host: str, resources: ExitStack) -> None:
        self._config, self._host, self._resources = config, host, resources
        self._hops = 0

    def reach(self, target: Jump, via: Sequence[Jump] | None = None) -> tuple[Endpoint, paramiko.Transport]:
        """Return a logged-in connection.

        Args:
            target: the host.
            via: the jump hosts, nearest first, instead of those that the configuration names.

        Raises:
            Unreachable: with one sentence that names host, port and cause.
            InvalidInput: if the configuration of a hop cannot be used.
        """
        self._hops += 1
        if self._hops > MAX_HOPS:
            raise self._unreachable(f"ProxyJump leads over more than {MAX_HOPS} hosts, or in a circle.")
        endpoint = self._config.endpoint(target)
        jumps = endpoint.jumps if via is None else via
        if jumps:
            jump, link = self.reach(jumps[-1], jumps[:-1] or None)
            return endpoint, self._retried(endpoint, lambda: self._through(endpoint, jump, link), direct=False)
        if endpoint.proxy_command is not None:
            return endpoint, self._over_proxy(endpoint, endpoint.proxy_command)
        return endpoint, self._retried(endpoint, lambda: self._dial(endpoint), direct=True)

    def _unreachable(self, message: str, hint: str | None = None) -> Unreachable:
        return Unreachable(message, hint=hint, where=self._host)

    def _retried(
        self, endpoint: Endpoint, connect: Callable[[], socket.socket | paramiko.Channel], *, direct: bool
    ) -> paramiko.Transport:
        """Return a logged-in connection, at the latest try, if the server drops the earlier ones."""
        for attempt in range(DROPPED_TRIES):
            if attempt:
                time.sleep(random.uniform(0.1, 0.3) * 2**attempt)
            with _connecting:
                link = self._logged_in(endpoint, connect(), direct=direct)
            if link is not None:
                return link
        raise self._unreachable(
            f"{endpoint.server} closed the connection before it said anything, {DROPPED_TRIES} times.",
            hint="It may be overloaded (MaxStartups in its sshd_config), refuse this machine, or be no SSH server.",
        )

    def _over_proxy(self, endpoint: Endpoint, command: str) -> paramiko.Transport:
        sock, said = self._proxied(command)
        with _connecting:
            link = self._logged_in(endpoint, sock, direct=False)
        if link is None:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["it says nothing"]
            raise self._unreachable(
                f"the ProxyCommand to {endpoint.server} closed the connection: {lines[-1].rstrip('.')}.",
                hint=f"Try it by hand: {command}",
            )
        return link

    def _dial(self, endpoint: Endpoint) -> socket.socket:
        try:
            sock = socket.create_connection((endpoint.hostname, endpoint.port), endpoint.connect_seconds)
        except (socket.gaierror, UnicodeError) as error:
            cause = error.strerror if isinstance(error, socket.gaierror) else "it is no host name"
            raise self._unreachable(
                f"the name {endpoint.hostname} cannot be resolved (to connect to its port {endpoint.port}): {cause}.",
                hint="Name it in DNS, in /etc/hosts, or by HostName in ~/.ssh/config.",
            ) from error
        except ConnectionRefusedError as error:
            raise self._unreachable(
                f"{endpoint.server} refuses the connection.", hint="Does sshd run there, and on this port?"
            ) from error
        except TimeoutError as error:
            raise self._unreachable(
                f"{endpoint.server} did not answer within {endpoint.connect_seconds:g} s.",
                hint="Is the machine up, and does every firewall let this through?",
            ) from error
        except OSError as error:
            raise self._unreachable(f"{endpoint.server} cannot be reached: {reason(error)}.") from error
        self._resources.callback(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_SECONDS * 1000)
        return sock

    def _through(self, endpoint: Endpoint, jump: Endpoint, link: paramiko.Transport) -> paramiko.Channel:
        target = (endpoint.hostname, endpoint.port)
        try:
            return link.open_channel("direct-tcpip", target, ("127.0.0.1", 0), timeout=HANDSHAKE_SECONDS)
        except (paramiko.SSHException, EOFError, OSError) as error:
            cause = error.text if isinstance(error, paramiko.ChannelException) else reason(error)
            raise self._unreachable(
                f"the jump host {jump.alias} ({jump.server}) cannot reach {endpoint.server}: {cause}.",
                hint="Does sshd run there, and does AllowTcpForwarding of the jump host permit it?",
            ) from error

    def _proxied(self, command: str) -> tuple[socket.socket, BinaryIO]:
        """Start a ProxyCommand as ssh does: by a shell, with one socket for input and output."""
        said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the other resources
        self._resources.callback(said.close)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=said,
                start_new_session=True,
            )
        self._resources.callback(_end, process)
        self._resources.callback(ours.close)
        return ours, said

    def _logged_in(
        self, endpoint: Endpoint, sock: socket.socket | paramiko.Channel, *, direct: bool
    ) -> paramiko.Transport | None:
        """Exchange keys and log in. Return null where the server drops the connection before it says anything."""
        link = paramiko.Transport(sock)
        self._resources.callback(link.close)
        link.banner_timeout = link.handshake_timeout = link.auth_timeout = HANDSHAKE_SECONDS
        known = known_hosts_of(endpoint)
        prefer_known_types(link, known)
        began = time.monotonic()
        try:
            link.start_client(timeout=3 * HANDSHAKE_SECONDS)
            key = link.get_remote_server_key()
        except (paramiko.SSHException, EOFError, OSError) as error:
            if link.remote_version:
                raise self._unreachable(f"the SSH handshake with {endpoint.server} failed: {reason(error)}.") from error
            if time.monotonic() - began < HANDSHAKE_SECONDS:
                return None
            raise self._unreachable(
                f"{endpoint.server} takes connections, but said nothing within {HANDSHAKE_SECONDS:g} s.",
                hint="Its sshd hangs, or it is no SSH server.",
            ) from error
        verify_host_key(key, endpoint, known, direct=direct, where=self._host)
        authenticate(link, endpoint, self._host)
        link.set_keepalive(KEEPALIVE_SECONDS)
        return link


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a program whose input was closed; end it if it stays."""
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
