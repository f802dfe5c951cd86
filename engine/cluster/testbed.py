"""Real OpenSSH nodes on this machine's loopback, for the demo and the tests. They need no root, and leave no trace."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.cluster import testbed_warden
from engine.errors import NotFound, RunFailed

INSTALL_SSHD = "sudo apt-get install openssh-server (Debian, Ubuntu), sudo dnf install openssh-server (Fedora, RHEL)"
START_SECONDS = 20.0
STOP_SECONDS = 5.0
_ANSWER_SECONDS = 1.0

_SSHD_CONFIG = """\
ListenAddress {address}
Port {port}
HostKey "{folder}/{name}.key"
AuthorizedKeysFile "{folder}/client.pub"
PidFile none
StrictModes no
UsePAM no
UseDNS no
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
X11Forwarding no
PrintMotd no
LogLevel VERBOSE
"""

_SSH_CONFIG = """\
Host {name}
    HostName {address}
    Port {port}
    User {user}
    IdentityFile "{folder}/client"
    IdentitiesOnly yes
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile none
    BatchMode yes

"""


def sshd_path() -> str | None:
    """Return where the OpenSSH daemon is; it is often not on the PATH of ordinary users."""
    folders = (*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", "/sbin")
    return shutil.which("sshd", path=os.pathsep.join(folders))


@dataclass(slots=True)
class _Daemon:
    """One node's sshd."""

    name: str
    address: str
    port: int
    warden: subprocess.Popen[bytes] | None = None


class Testbed:
    """N nodes, `node-1` to `node-N`, each an sshd with its own address or port and its own host key."""

    __test__ = False  # no test case, whatever its name begins with

    def __init__(self, folder: Path, sshd: str, daemons: list[_Daemon]) -> None:
        self.folder = folder
        self.hostfile = folder / "hostfile"
        self.ssh_config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self._sshd, self._daemons = sshd, daemons

    @classmethod
    def start(cls, folder: Path, *, nodes: int, slots: int, workdir: Path) -> Self:
        """Write keys and files, and start the nodes. They end when the testbed is closed, or this process ends.

        Args:
            folder: for keys, configuration and logs (`node-1.log`, …).
            nodes: number of nodes.
            slots: of each node.
            workdir: of each node.

        Raises:
            NotFound: if there is no sshd on this machine.
            RunFailed: if a node does not start, with what its log says.
        """
        sshd = sshd_path()
        if sshd is None:
            raise NotFound("there is no sshd on this machine.", hint=f"To install it: {INSTALL_SSHD}")
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as unless_complete:
            daemons = [_Daemon(f"node-{index}", *_free_endpoint(index)) for index in range(1, nodes + 1)]
            testbed = cls(folder, sshd, daemons)
            unless_complete.callback(testbed.close)
            testbed._write_files(slots, workdir.absolute())
            for daemon in daemons:
                testbed._launch(daemon)
            for daemon in daemons:
                testbed._wait_until_up(daemon)
            unless_complete.pop_all()
            return testbed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the daemons and their connections. Programs that detached themselves run on, as on a real node."""
        for daemon in self._daemons:
            self._end(daemon)

    def stop_node(self, index: int) -> None:
        """End the sshd of `node-INDEX` with its connections."""
        self._end(self._daemons[index - 1])

    def start_node(self, index: int) -> None:
        """Start the sshd of `node-INDEX` again, on the same port and with the same host key."""
        daemon = self._daemons[index - 1]
        self._launch(daemon)
        self._wait_until_up(daemon)

    def drop_connections(self, index: int) -> None:
        """Kill the processes that serve the present connections to `node-INDEX`; new ones are taken."""
        for pid in self.sessions(index):
            testbed_warden.kill(pid)

    def sessions(self, index: int) -> list[int]:
        """Return the ids of the processes that serve the present connections to `node-INDEX`, one or two for each."""
        warden = self._daemons[index - 1].warden
        listeners = testbed_warden.children_of(warden.pid) if warden is not None else []
        return [pid for listener, _ in listeners for pid in testbed_warden.sessions_of(listener)]

    def port(self, index: int) -> int:
        """Return the port of `node-INDEX`."""
        return self._daemons[index - 1].port

    def _write_files(self, slots: int, workdir: Path) -> None:
        _make_key(self.folder / "client")
        user = pwd.getpwuid(os.geteuid()).pw_name
        ssh_config, known_hosts, hosts = "", "", ""
        for daemon in self._daemons:
            _make_key(self.folder / f"{daemon.name}.key")
            values = {"name": daemon.name, "address": daemon.address, "port": daemon.port, "folder": self.folder}
            (self.folder / f"{daemon.name}.sshd_config").write_text(_SSHD_CONFIG.format(**values), encoding="utf-8")
            ssh_config += _SSH_CONFIG.format(**values, user=user)
            public = (self.folder / f"{daemon.name}.key.pub").read_text(encoding="utf-8").split()
            known_hosts += f"[{daemon.address}]:{daemon.port} {public[0]} {public[1]}\n"
            hosts += f"{daemon.name} slots={slots}\n"
        settings = {
            "ssh_config": self.ssh_config,
            "workdir": workdir,
            "python": sys.executable,
            "shared": "yes",
            "address": "127.0.0.1",
            "interface": "lo" if sys.platform == "linux" else "lo0",
        }
        words = " ".join(shlex.quote(f"{key}={value}") for key, value in settings.items())
        self.ssh_config.write_text(ssh_config, encoding="utf-8")
        self.known_hosts.write_text(known_hosts, encoding="utf-8")
        self.hostfile.write_text(f"# plumbline: {words}\n{hosts}", encoding="utf-8")

    def _launch(self, daemon: _Daemon) -> None:
        if os.geteuid() == 0 and sys.platform == "linux":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself up when it is root
        log = str(self.folder / f"{daemon.name}.log")
        config = str(self.folder / f"{daemon.name}.sshd_config")
        with Path(log).open("ab") as out:
            daemon.warden = subprocess.Popen(
                [sys.executable, "-I", "-S", testbed_warden.__file__, self._sshd, "-D", "-f", config, "-E", log],
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
                with socket.create_connection((daemon.address, daemon.port), _ANSWER_SECONDS) as sock:
                    if sock.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.02)
        log = self.folder / f"{daemon.name}.log"
        said = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise RunFailed(f"the sshd of {daemon.name} does not start: {' '.join(said)}", where=str(log))

    def _end(self, daemon: _Daemon) -> None:
        if daemon.warden is None:
            return
        assert daemon.warden.stdin is not None
        daemon.warden.stdin.close()
        try:
            daemon.warden.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for listener, _ in testbed_warden.children_of(daemon.warden.pid):
                testbed_warden.end(listener)
            daemon.warden.kill()
            daemon.warden.wait()
        daemon.warden = None


def _make_key(file: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"plumbline testbed {file.name}", "-f", str(file)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)


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
