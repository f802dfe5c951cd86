"""The first process of an isolated node, which its kernel would call init: brings it up, reaps, starts and ends sshd.

Forked by the head; answers its requests, one JSON document a line.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.cluster.testbed import namespaces, warden

INTERFACE = "eth0"
_ANSWER_SECONDS = 1.0


class FirstProcess:
    """A node from the inside. plan: see `head.Head`."""

    def __init__(self, control: socket.socket, plan: Mapping[str, Any], node: Mapping[str, Any]) -> None:
        self._control, self._plan, self._node = control, plan, node
        self._listener: int | None = None  # the sshd
        self._wakeup, alarm = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(alarm, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def furnish(self) -> None:
        """Give the node its own host name, process list, shared memory, boot id and, if the plan says so, disk."""
        flags = namespaces.NO_SUID | namespaces.NO_DEVICES | namespaces.NO_PROGRAMS
        socket.sethostname(self._node["name"])
        namespaces.mount("proc", "/proc", "proc", flags)
        if Path("/dev/shm").is_dir():
            namespaces.mount("tmpfs", "/dev/shm", "tmpfs", namespaces.NO_SUID | namespaces.NO_DEVICES)
        namespaces.mount(self._node["boot_id"], "/proc/sys/kernel/random/boot_id", flags=namespaces.BIND)
        for system_file, own in self._plan["instead"].items():
            if Path(system_file).is_file():
                namespaces.mount(own, system_file, flags=namespaces.BIND)
        if self._node["disk"]:
            namespaces.mount(self._node["disk"], self._plan["workdir"], flags=namespaces.BIND)

    def serve(self) -> NoReturn:
        """Answer requests until the head is gone."""
        lines = self._control.makefile("r", encoding="utf-8")
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._wakeup], [], [])
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
                self._reap()
            if self._control.fileno() in ready:
                line = lines.readline()  # whole: the head sends one, and waits for its answer
                if not line:
                    os._exit(0)
                self._control.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"value": getattr(self, f"do_{request['do']}")(**request["with"])}
        except (OSError, subprocess.SubprocessError) as error:
            return {"error": str(error)}

    def do_network(self) -> None:
        """Bring the network up; the head has put the interface here."""
        address = f"{self._node['address']}/{self._plan['prefix']}"
        lines = f"link set lo up\naddress add {address} dev {INTERFACE}\nlink set {INTERFACE} up\n"
        subprocess.run([self._plan["ip"], "-batch", "-"], input=lines, text=True, check=True, capture_output=True)

    def do_start_daemon(self, seconds: float) -> bool:
        """Start the sshd; return whether it answers in time."""
        if self._listener is None:
            out = (os.POSIX_SPAWN_OPEN, 1, self._node["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            command = self._node["sshd"]
            self._listener = os.posix_spawn(
                command[0],
                command,
                {"PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), out, (os.POSIX_SPAWN_DUP2, 1, 2)],
                setsid=True,
                setsigdef=[signal.SIGPIPE],
            )
        deadline = time.monotonic() + seconds
        while self._listener is not None and time.monotonic() < deadline:
            try:
                with socket.create_connection((self._node["address"], self._node["port"]), _ANSWER_SECONDS) as sock:
                    if sock.recv(4) == b"SSH-":
                        return True
            except OSError:
                time.sleep(0.01)
            self._reap()
        return False

    def do_end_daemon(self) -> None:
        """End the sshd with its connections."""
        if self._listener is not None:
            warden.end(self._listener)
            for pid in self.do_sessions():  # of daemons that ended before
                warden.kill(pid)
            while self._listener is not None:
                self._reap()
                time.sleep(0.002)

    def do_sessions(self) -> list[int]:
        """Return the processes that serve the present connections."""
        return [pid for pid, _, command in warden.processes() if command.startswith("sshd") and pid != self._listener]

    def do_signal(self, pids: Sequence[int], number: int) -> None:
        """Send a signal to some processes."""
        for pid in pids:
            warden.kill(pid, number)

    def do_processes(self) -> list[tuple[int, str, bool]]:
        """Return id, command line, and whether it is below a connection, of each program."""
        return warden.programs({pid: (above, command) for pid, above, command in warden.processes() if pid != 1})

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._listener:
                self._listener = None
