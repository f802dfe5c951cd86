"""A small cluster on this machine, of real OpenSSH nodes, and what can befall it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.cluster.testbed import files
from engine.cluster.testbed.clocks import build_clock, clock_variables, move_clock, why_no_clocks
from engine.cluster.testbed.ground import Ground, NodeProcess
from engine.cluster.testbed.isolated import IsolatedGround, why_not
from engine.cluster.testbed.loopback import LoopbackGround
from engine.cluster.testbed.programs import INSTALL_SSHD, sshd_path
from engine.errors import InvalidInput, NotFound, Refused


class Testbed:
    """N nodes, `node-1` to `node-N`, each an sshd with its own address or port, host key and slot leases.

    On loopback they need no root, and share this machine's processes, network and files. Isolated, each is a machine of
    its own to whoever is on it; they share the files, but for the work directory if they have disks of their own.
    All methods take a node's number, from 1.
    """

    __test__ = False  # no test case, whatever its name begins with

    def __init__(self, folder: Path, ground: Ground, *, has_clocks: bool) -> None:
        self.folder = folder
        self.hostfile = folder / "hostfile"
        self.ssh_config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self._ground, self._has_clocks = ground, has_clocks

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        nodes: int,
        slots: int,
        workdir: Path,
        isolated: bool = False,
        disk_mb: int | None = None,
        clocks: bool = False,
    ) -> Self:
        """Write keys and files, and start the nodes. They end when the testbed is closed, or this process ends.

        Args:
            folder: for keys, configuration and logs (`node-1.log`, …).
            nodes: number of nodes.
            slots: of each node.
            workdir: of each node.
            isolated: whether each has namespaces of its own; `can_isolate` tells whether that is possible here.
            disk_mb: size of each node's own disk, which holds its work directory; null: they share `workdir`.
            clocks: whether each has a clock that `shift_clock` moves; `can_move_clocks` tells whether that is possible.

        Raises:
            NotFound: if there is no sshd on this machine.
            Refused: if nodes cannot be isolated, or have clocks, here.
            InvalidInput: if a loopback node is to have its own disk, or that disk would hide `folder`.
            RunFailed: if a node does not start, with what its log says.
        """
        sshd = sshd_path()
        if sshd is None:
            raise NotFound("there is no sshd on this machine.", hint=f"To install it: {INSTALL_SSHD}")
        if clocks and (reason := why_no_clocks()) is not None:
            raise Refused(f"{reason}.")
        folder, workdir = folder.absolute(), workdir.absolute()
        names = [f"node-{index}" for index in range(1, nodes + 1)]
        with ExitStack() as unless_complete:
            ground: Ground
            if isolated:
                ground = IsolatedGround(folder, sshd, names, workdir, disk_mb)
            elif disk_mb is None:
                ground = LoopbackGround(folder, sshd, names)
            else:
                raise InvalidInput("loopback nodes have no disks of their own.", hint="Isolate them.")
            unless_complete.callback(ground.close)
            testbed = cls(folder, ground, has_clocks=clocks)
            testbed._write_files_of_nodes()
            ground.start()
            testbed._write_files_of_clients(slots, workdir, shared=disk_mb is None)
            unless_complete.pop_all()
            return testbed

    @staticmethod
    def can_isolate() -> str | None:
        """Return why nodes cannot be isolated on this machine, as half a sentence; None if they can."""
        return why_not()

    @staticmethod
    def can_move_clocks() -> str | None:
        """Return why nodes cannot have clocks on this machine, as half a sentence; None if they can."""
        return why_no_clocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the nodes with their connections.

        On loopback, programs that detached themselves run on, as on a real node; isolated ones have no process left.
        """
        self._ground.close()

    def stop_node(self, index: int) -> None:
        """End the sshd of `node-INDEX` with its connections; all else there goes on."""
        self._ground.end_daemon(index)

    def start_node(self, index: int) -> None:
        """Start the sshd of `node-INDEX` again, on the same port and with the same host key."""
        self._ground.start_daemons([index])

    def drop_connections(self, index: int) -> None:
        """Kill the processes that serve the present connections to `node-INDEX`; new ones are taken."""
        self.signal(index, self.sessions(index), signal.SIGKILL)

    def sessions(self, index: int) -> list[int]:
        """Return the processes that serve the present connections to `node-INDEX`, one or two for each."""
        return self._ground.sessions(index)

    def processes(self, index: int) -> list[NodeProcess]:
        """Return the programs that live on `node-INDEX`, without its sshd; zombies live no more.

        On loopback: those that were started over its sshd, or by such a one, as an environment variable tells.

        Raises:
            Refused: on loopback of a machine that is not Linux; where an isolated node is switched off.
        """
        return self._ground.processes(index)

    def signal(self, index: int, pids: Sequence[int], number: int) -> None:
        """Send a signal to processes of `node-INDEX`, by the ids that the node itself counts by."""
        self._ground.signal(index, pids, number)

    def port(self, index: int) -> int:
        """Return the port of `node-INDEX`."""
        return self._ground.places[index - 1].port

    def address(self, index: int) -> str:
        """Return the address at which the sshd of `node-INDEX` listens."""
        return self._ground.places[index - 1].address

    def shift_clock(self, index: int, seconds: float) -> None:
        """Have the clock of `node-INDEX` be fast by so many seconds, negative: slow; programs see it at once.

        Raises:
            Refused: if the testbed was started without clocks.
        """
        if not self._has_clocks:
            raise Refused("the nodes have no clocks of their own.", hint="Start the testbed with clocks=True.")
        move_clock(self._folder_of(index), seconds)

    def cut(self, index: int) -> None:
        """Cut the link of `node-INDEX` to all other nodes and to this machine; nobody is told."""
        self._isolated().link(index, up=False)

    def mend(self, index: int) -> None:
        """Mend the link of `node-INDEX`."""
        self._isolated().link(index, up=True)

    def impair(self, index: int, delay_ms: float = 0.0, loss_percent: float = 0.0) -> None:
        """Have the link of `node-INDEX` carry what it carries later each way, and lose some frames; zeros mend it."""
        self._isolated().impair(index, delay_ms / 1000, loss_percent / 100)

    def fill_disk(self, index: int) -> None:
        """Leave no byte free on the own disk of `node-INDEX`."""
        self._isolated().fill_disk(index, full=True)

    def free_disk(self, index: int) -> None:
        """Free what `fill_disk` took."""
        self._isolated().fill_disk(index, full=False)

    def disk(self, index: int) -> Path:
        """Return the folder in which this machine sees the work directory on the own disk of `node-INDEX`."""
        return self._isolated().disk(index)

    def kill_node(self, index: int) -> None:
        """Switch `node-INDEX` off: all its processes are gone at once, and nobody at the other end is told."""
        self._isolated().kill(index)

    def boot_node(self, index: int) -> None:
        """Switch `node-INDEX` on again: what was on its disk is there, its link is whole, nothing runs but sshd."""
        self._isolated().boot(index)

    def _isolated(self) -> IsolatedGround:
        if not isinstance(self._ground, IsolatedGround):
            raise Refused("this can befall isolated nodes only.", hint="Start the testbed with isolated=True.")
        return self._ground

    def _folder_of(self, index: int) -> Path:
        return self.folder / self._ground.places[index - 1].name

    def _write_files_of_nodes(self) -> None:
        """Write what each node has before it starts: its folder, its host key, the configuration of its sshd."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0 and sys.platform == "linux":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself up when it is root
        files.write_keys(self.folder, [place.name for place in self._ground.places])
        library = build_clock(self.folder) if self._has_clocks else None
        for index, place in enumerate(self._ground.places, 1):
            own = self._folder_of(index)
            own.mkdir(exist_ok=True)
            variables = {files.LEASES_VARIABLE: str(files.leases_folder(self.folder, place.name))}
            if library is not None:
                move_clock(own, 0.0)
                variables |= clock_variables(library, own)
            files.write_sshd_config(self.folder, place, variables)

    def _write_files_of_clients(self, slots: int, workdir: Path, *, shared: bool) -> None:
        files.write_client_files(self.folder, self._ground.places, self._ground.proxy)
        settings = {
            "ssh_config": str(self.ssh_config),
            "workdir": str(workdir),
            "python": sys.executable,
            "shared": "yes" if shared else "no",
            "interface": self._ground.interface,
        }
        files.write_hostfile(self.folder, slots, settings, self._ground.addresses)
