"""Nodes on this machine's loopback, each an sshd with its own address or port. They need no root, leave no trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.cluster.testbed import files, warden
from engine.cluster.testbed.ground import NodeProcess, Place
from engine.errors import Refused, RunFailed

START_SECONDS = 20.0
STOP_SECONDS = 5.0
_ANSWER_SECONDS = 1.0


@dataclass(slots=True)
class _Daemon:
    """One node's sshd."""

    place: Place
    mark: bytes  # a variable that everything started over it has in its environment
    warden: subprocess.Popen[bytes] | None = None

    @property
    def listener(self) -> int | None:
        """The process of the sshd."""
        found = warden.children_of(self.warden.pid) if self.warden is not None else []
        return found[0][0] if found else None


class LoopbackGround:
    """The daemons. Whoever holds this object holds them: they end with this process, however it ends."""

    def __init__(self, folder: Path, sshd: str, names: Sequence[str]) -> None:
        self._folder, self._sshd = folder, sshd
        self.places = [Place(name, *_free_endpoint(index)) for index, name in enumerate(names, 1)]
        self._daemons = [
            _Daemon(place, f"{files.LEASES_VARIABLE}={files.leases_folder(folder, place.name)}".encode())
            for place in self.places
        ]

    interface = "lo" if sys.platform == "linux" else "lo0"
    proxy: Sequence[str] = ()

    @property
    def addresses(self) -> Mapping[str, str]:
        """See `Ground`."""
        return {place.name: "127.0.0.1" for place in self.places}

    def start(self) -> None:
        """See `Ground`."""
        self.start_daemons(range(1, len(self.places) + 1))

    def start_daemons(self, indices: Sequence[int]) -> None:
        """See `Ground`."""
        for index in indices:
            self._launch(self._daemons[index - 1])
        for index in indices:
            self._wait_until_up(self._daemons[index - 1])

    def end_daemon(self, index: int) -> None:
        """See `Ground`."""
        self._end(self._daemons[index - 1])

    def sessions(self, index: int) -> list[int]:
        """See `Ground`."""
        listener = self._daemons[index - 1].listener
        return [] if listener is None else warden.sessions_of(listener)

    def signal(self, index: int, pids: Sequence[int], number: int) -> None:
        """See `Ground`."""
        for pid in pids:
            warden.kill(pid, number)

    def processes(self, index: int) -> list[NodeProcess]:
        """See `Ground`. A program is on the node over whose sshd it, or what started it, was started.

        Raises:
            Refused: where the environment of a process cannot be read: it is not Linux.
        """
        if not Path("/proc/self/environ").exists():
            raise Refused("which programs run on a loopback node can be told on Linux only.")
        daemon = self._daemons[index - 1]
        own = {}
        for pid, above, command in warden.processes():
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended, or is another user's
            if daemon.mark in environment or command.startswith("sshd"):
                own[pid] = (above, command)
        return [NodeProcess(*row) for row in warden.programs(own)]

    def close(self) -> None:
        """See `Ground`. Programs that detached themselves run on, as on a real node."""
        for daemon in self._daemons:
            self._end(daemon)

    def _launch(self, daemon: _Daemon) -> None:
        log, config = (str(file(self._folder, daemon.place.name)) for file in (files.log_of, files.config_of))
        with Path(log).open("ab") as out:
            daemon.warden = subprocess.Popen(
                [sys.executable, "-I", "-S", warden.__file__, self._sshd, "-D", "-f", config, "-E", log],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env={"PATH": os.defpath},
                start_new_session=True,
            )

    def _wait_until_up(self, daemon: _Daemon) -> None:
        assert daemon.warden is not None
        deadline = time.monotonic() + START_SECONDS
        while daemon.warden.poll() is None and time.monotonic() < deadline:
            try:
                where = (daemon.place.address, daemon.place.port)
                with socket.create_connection(where, _ANSWER_SECONDS) as sock:
                    if sock.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.02)
        raise files.daemon_failed(self._folder, daemon.place.name)

    def _end(self, daemon: _Daemon) -> None:
        if daemon.warden is None:
            return
        assert daemon.warden.stdin is not None
        daemon.warden.stdin.close()
        try:
            daemon.warden.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            if (listener := daemon.listener) is not None:
                warden.end(listener)
            daemon.warden.kill()
            daemon.warden.wait()
        daemon.warden = None


def _free_endpoint(index: int) -> tuple[str, int]:
    """Return an address and a port of loopback. Not 127.0.0.1, where outgoing connections may take the port."""
    for address in (f"127.0.0.{index + 1}", "127.0.0.1"):
        with socket.socket() as sock:
            try:
                sock.bind((address, 0))
            except OSError:  # not Linux: there is only one address
                continue
            return address, int(sock.getsockname()[1])
    raise RunFailed("there is no loopback network on this machine.")
