"""A real Slurm cluster on this machine: slurmctld, munged, and a slurmd for each node. Needs root; leaves no trace.

Every file is in one folder, so that nothing of the system's own configuration is read or changed. The nodes are several
slurmd on one host (`NodeName=… Port=…`, slurmd -N): they share processes, network and files.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.cluster.slurm_warden import end_descendants
from engine.errors import NotFound, Refused, RunFailed

INSTALL_SLURM = "apt-get install --no-install-recommends slurm-wlm munge (Debian, Ubuntu)"
START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_DAEMONS = ("munged", "slurmctld", "slurmd")
_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "srun")

# Not one line can be spared: without config_overrides, nodes with more slots than the machine has cores are drained.
_CONFIG = """\
ClusterName=testbed
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout={timeout}
KillWait=5
MessageTimeout=4
MinJobAge={remember}
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmTestbed:
    """N Slurm nodes, `alpha1` to `alphaN`. `environment` makes Slurm's commands speak to them."""

    __test__ = False  # no test case, whatever its name begins with

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.hostfile = folder / "hostfile"
        self.commands = folder / "bin"  # Slurm's commands, which find this cluster by themselves
        self.nodes = [f"alpha{index}" for index in range(1, nodes + 1)]
        self.environment: Mapping[str, str] = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._hidden: dict[str, Path] = {}  # by node: the folder that it does not see
        self._wardens: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        nodes: int,
        slots: int,
        workdir: Path,
        node_timeout: int = 10,
        remember: int = 300,
        blind: Collection[str] = (),
    ) -> Self:
        """Write the configuration and start the daemons. They end when the testbed is closed, or this process ends.

        Args:
            folder: for configuration, state and logs.
            nodes: number of nodes.
            slots: CPUs that each is said to have.
            workdir: of the hostfile.
            node_timeout: seconds after which a node that does not answer is down.
            remember: seconds for which a job that has ended is known.
            blind: nodes that see an empty folder in place of `workdir`.

        Raises:
            NotFound: if Slurm is not installed.
            Refused: if this is not root.
            RunFailed: if a daemon does not start, with what its log says.
        """
        missing = [name for name in _DAEMONS if _program(name) is None]
        if missing:
            raise NotFound(f"there is no {missing[0]} on this machine.", hint=f"To install it: {INSTALL_SLURM}")
        if os.geteuid() != 0:
            raise Refused("the Slurm testbed needs root: slurmd takes on the users of its jobs.")
        testbed = cls(folder.absolute(), nodes)
        testbed._hidden = dict.fromkeys(blind, workdir.absolute())
        with ExitStack() as unless_complete:
            unless_complete.callback(testbed.close)
            testbed._write_files(slots, workdir.absolute(), node_timeout, remember)
            testbed._launch_all()
            unless_complete.pop_all()
        return testbed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the daemons, with all jobs."""
        for name in reversed(list(self._wardens)):
            self._end(name)

    def stop_node(self, name: str) -> None:
        """End a node as a power cut does: its slurmd and all that its jobs have there, at once and without a word."""
        self._end(name)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node again, and wait until Slurm counts on it."""
        self._launch_node(name)
        self._wait_until_idle([name])

    def stop_controller(self) -> None:
        """End slurmctld; jobs go on."""
        self._end("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld again, with the jobs that it knew."""
        self._launch("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait_until_idle([])

    def run(self, *command: str) -> str:
        """Return what one of Slurm's commands prints. Raises RunFailed."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RunFailed(f"{command[0]} failed: {done.stderr.strip()}", where=str(self.folder))
        return done.stdout

    def _write_files(self, slots: int, workdir: Path, node_timeout: int, remember: int) -> None:
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o755)
        key = self.folder / "munge.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(128))
        host = socket.gethostname().partition(".")[0]
        controller, *ports = _free_ports(1 + len(self.nodes))
        rows = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={slots} State=UNKNOWN"
            for name, port in zip(self.nodes, ports, strict=True)
        )
        values = {"host": host, "port": controller, "folder": self.folder, "nodes": rows}
        config = _CONFIG.format(**values, timeout=node_timeout, remember=remember)
        (self.folder / "slurm.conf").write_text(config, encoding="utf-8")
        # slurmd insists on cgroups, even where no plugin of ours uses them; version 1 and nothing mounted will do.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n", encoding="utf-8")
        for name in _COMMANDS:
            wrapper = self.commands / name
            program = shlex.quote(str(_program(name)))
            conf = shlex.quote(str(self.folder / "slurm.conf"))
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {program} "$@"\n', encoding="utf-8")
            wrapper.chmod(0o755)
        settings = {"launcher": "slurm", "workdir": workdir, "python": sys.executable, "commands": self.commands}
        words = " ".join(shlex.quote(f"{key}={value}") for key, value in settings.items())
        hosts = "".join(f"{name} slots={slots}\n" for name in self.nodes)
        self.hostfile.write_text(f"# plumbline: {words} interface=lo\n{hosts}", encoding="utf-8")

    def _launch_all(self) -> None:
        names = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files = [f"--{option}={self.folder / name}" for option, name in names.items()]
        self._launch("munged", "--foreground", "--force", *files, f"--seed-file={self.folder / 'munged.seed'}")
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / "munge.socket").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._launch("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        for name in self.nodes:
            self._launch_node(name)
        self._wait_until_idle(self.nodes)

    def _launch_node(self, name: str) -> None:
        self._launch(name, "-D", "-N", name, "-f", str(self.folder / "slurm.conf"), program="slurmd")

    def _launch(self, name: str, *arguments: str, program: str | None = None) -> None:
        command = [str(_program(program or name)), *arguments]
        if name in self._hidden:
            script = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, str(self._hidden[name]), *command]
        with (self.folder / f"{name}.out").open("ab") as out:
            self._wardens[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.cluster.slurm_warden", *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env={**self.environment, "PATH": os.environ.get("PATH", os.defpath)},
                start_new_session=True,
                cwd="/",
            )

    def _wait_until_idle(self, names: list[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for name, warden in self._wardens.items():
                if warden.poll() is not None:
                    said = (self.folder / f"{name}.out").read_text(errors="replace").strip().splitlines()[-1:]
                    raise RunFailed(f"{name} does not start: {' '.join(said)}", where=str(self.folder))
            try:
                listed = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
            except RunFailed:
                listed = []
            # Another slurmctld takes a while to hear of its nodes; "idle*" is not heard.
            if listed and {line.split()[0] for line in listed if line.split()[1] in ("idle", "mixed")} >= set(names):
                return
            time.sleep(0.05)
        raise RunFailed(f"{', '.join(names) or 'slurmctld'} did not come up.", where=str(self.folder))

    def _end(self, name: str) -> None:
        warden = self._wardens.pop(name, None)
        if warden is None:
            return
        assert warden.stdin is not None
        warden.stdin.close()
        try:
            warden.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:  # a very busy machine
            end_descendants(warden.pid)
            warden.kill()
            warden.wait()


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin")))


def _free_ports(count: int) -> list[int]:
    """Return ports of loopback that nothing listens on."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
