"""Nodes in Linux namespaces: each has its own address, host name, processes, shared memory and, if wanted, disk.

The whole testbed lives below one program (`head`) and ends with it. Only its files are in this machine's namespaces;
its network can be reached by whoever enters it, as the ProxyCommand of the testbed's `ssh_config` does.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO, Any

from engine.cluster.testbed import files, relay
from engine.cluster.testbed.first_process import INTERFACE
from engine.cluster.testbed.ground import NodeProcess, Place
from engine.cluster.testbed.programs import program_path
from engine.errors import InvalidInput, Refused, RunFailed

SUBNET = IPv4Network("10.78.0.0/24")  # in a network of its own, so that it meets no other, nor another testbed
PORT = 2222
MOST_NODES = 250
START_SECONDS = 20.0
STOP_SECONDS = 5.0
_ANSWER_SECONDS = 60.0  # more than anything takes
_PROBE_SECONDS = 10.0
_TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
_HEAD = "import sys; sys.path.append(sys.argv[1]); from engine.cluster.testbed.head import main; main(sys.stdin)"
_PROBE = """\
set -e
mount -t tmpfs tmpfs /dev/shm
"$0" link add name veth1 type veth peer name veth2
"$0" link add name bridge1 type bridge
"""


@functools.cache
def why_not() -> str | None:
    """Return why there can be no isolated nodes on this machine; None if there can."""
    if sys.platform != "linux":
        return "isolated nodes need Linux"
    tools = {name: program_path(name) for name in _TOOLS}
    missing = [name for name, path in tools.items() if path is None]
    if missing:
        packages = " ".join(sorted({_TOOLS[name] for name in missing}))
        return f"{' and '.join(missing)} cannot be found (Debian, Ubuntu: sudo apt-get install {packages})"
    command = [*_unshare(), "/bin/sh", "-c", _PROBE, str(tools["ip"])]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"the kernel made no namespaces within {_PROBE_SECONDS:g} s"
    if tried.returncode == 0:
        return None
    said = " ".join(tried.stderr.split()).rstrip(".") or f"exit code {tried.returncode}"
    return f"the kernel or its administrator forbids namespaces ({said})"


def _unshare() -> list[str]:
    """Return the command that starts a program in namespaces of its own, and ends it when it is ended itself."""
    privileged = os.geteuid() == 0
    namespaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--mount-proc"]
    become_root = [] if privileged else ["--user", "--map-root-user"]
    return [str(program_path("unshare")), *become_root, *namespaces, "--fork", "--kill-child"]


class IsolatedGround:
    """Nodes behind a bridge, each in namespaces of its own. Safe to use from several threads."""

    interface = INTERFACE

    def __init__(self, folder: Path, sshd: str, names: Sequence[str], workdir: Path, disk_mb: int | None) -> None:
        if (reason := why_not()) is not None:
            raise Refused(f"{reason}.", hint="Nodes on loopback need none of that.")
        if not 1 <= len(names) <= MOST_NODES:
            raise InvalidInput(f"{len(names)} nodes are not between 1 and {MOST_NODES}.")
        if disk_mb is not None and folder.is_relative_to(workdir):
            raise InvalidInput("a disk at the work directory would hide the testbed's own files.", where=str(workdir))
        addresses = [str(SUBNET[index]) for index in range(1, len(names) + 1)]
        self.places = [Place(name, address, PORT) for name, address in zip(names, addresses, strict=True)]
        self._folder, self._sshd, self._workdir, self._disk_mb = folder, sshd, workdir, disk_mb
        self._asking = threading.Lock()
        self._asked = 0
        self._head: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """See `Ground`."""
        if self._disk_mb is not None:
            self._workdir.mkdir(parents=True, exist_ok=True)
        with (self._folder / "head.log").open("ab") as log:
            self._head = subprocess.Popen(
                [*_unshare(), sys.executable, "-I", "-S", "-c", _HEAD, str(Path(__file__).parents[3])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # what is not in the pipe has been read
                env={"PATH": os.defpath},
                start_new_session=True,
            )
        self._write(self._plan())
        self._require_up(self._ask("up", seconds=START_SECONDS))

    @property
    def addresses(self) -> Mapping[str, str]:
        """See `Ground`."""
        return {place.name: place.address for place in self.places}

    @property
    def proxy(self) -> Sequence[str]:
        """See `Ground`: it enters the nodes' network."""
        entering = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        target = ["--target", str(self._holder()), "--net"]
        return [str(program_path("nsenter")), *entering, *target, sys.executable, "-I", "-S", relay.__file__]

    def disk(self, index: int) -> Path:
        """Return where this machine's programs see a node's own work directory."""
        if self._disk_mb is None:
            raise Refused("these nodes have no disks of their own.", hint="Start the testbed with disk_mb=N.")
        inside = self._folder.relative_to("/") / self.places[index - 1].name / "disk/work"
        return Path(f"/proc/{self._holder()}/root") / inside

    def start_daemons(self, indices: Sequence[int]) -> None:
        """See `Ground`."""
        self._require_up(self._ask("start_daemons", nodes=list(indices), seconds=START_SECONDS))

    def end_daemon(self, index: int) -> None:
        """See `Ground`."""
        self._ask_node(index, "end_daemon")

    def sessions(self, index: int) -> list[int]:
        """See `Ground`; the ids are those that the node itself counts by."""
        return [int(pid) for pid in self._ask_node(index, "sessions")]

    def signal(self, index: int, pids: Sequence[int], number: int) -> None:
        """See `Ground`."""
        self._ask_node(index, "signal", pids=list(pids), number=int(number))

    def processes(self, index: int) -> list[NodeProcess]:
        """See `Ground`."""
        return [NodeProcess(*row) for row in self._ask_node(index, "processes")]

    def link(self, index: int, *, up: bool) -> None:
        """Cut a node's link to all others and to this machine, or mend it."""
        self._ask("link", node=index, up=up)

    def impair(self, index: int, delay: float, loss: float) -> None:
        """Have a node's link carry every frame `delay` seconds later, and lose a share of them."""
        self._ask("impair", node=index, delay=delay, loss=loss)

    def fill_disk(self, index: int, *, full: bool) -> None:
        """Leave no free byte on a node's own disk, or free what was taken."""
        self.disk(index)
        self._ask("fill_disk" if full else "free_disk", node=index)

    def kill(self, index: int) -> None:
        """Switch a node off."""
        self._ask("kill", node=index)

    def boot(self, index: int) -> None:
        """Switch it on again."""
        self._require_up(self._ask("boot", node=index, seconds=START_SECONDS))

    def close(self) -> None:
        """End the testbed with every process in it."""
        if self._head is None:
            return
        head, self._head = self._head, None
        assert head.stdin is not None and head.stdout is not None
        with contextlib.suppress(OSError):
            head.stdin.close()
        try:
            head.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        head.stdout.close()

    def _plan(self) -> dict[str, Any]:
        return {
            "folder": str(self._folder),
            "ip": program_path("ip"),
            "address": str(SUBNET[-2]),
            "prefix": SUBNET.prefixlen,
            "instead": self._system_files(),
            "workdir": str(self._workdir),
            "disk_mb": self._disk_mb,
            "nodes": [
                {
                    "name": place.name,
                    "address": place.address,
                    "port": place.port,
                    "log": str(files.log_of(self._folder, place.name)),
                    "sshd": self._daemon(place),
                }
                for place in self.places
            ],
        }

    def _system_files(self) -> dict[str, str]:
        """Write the files that nodes have in place of the system's; return their paths by the system's."""
        hosts = "127.0.0.1 localhost\n" + "".join(f"{place.address} {place.name}\n" for place in self.places)
        found = {"/etc/hosts": hosts}
        if os.geteuid() != 0:
            # An ordinary user's sshd cannot give terminals to the group `tty` in here, and does not if there is none.
            groups = Path("/etc/group").read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            found["/etc/group"] = "".join(line for line in groups if not line.startswith("tty:"))
        paths = {}
        for system_path, text in found.items():
            path = self._folder / Path(system_path).name
            path.write_text(text, encoding="utf-8")
            paths[system_path] = str(path)
        return paths

    def _daemon(self, place: Place) -> list[str]:
        # An ordinary user is root in here; as such sshd would want users and groups that nobody has mapped.
        user = [f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
        as_oneself = [] if os.geteuid() == 0 else [str(program_path("unshare")), "--user", *user]
        config, log = files.config_of(self._folder, place.name), files.log_of(self._folder, place.name)
        return [*as_oneself, self._sshd, "-D", "-f", str(config), "-E", str(log)]

    def _require_up(self, silent: Sequence[int]) -> None:
        for index in silent:
            raise files.daemon_failed(self._folder, self.places[index - 1].name)

    def _holder(self) -> int:
        if self._head is None:
            raise Refused("the testbed is closed.")
        return self._head.pid

    def _ask_node(self, index: int, request: str, **arguments: Any) -> Any:
        return self._ask("node", node=index, request=request, arguments=arguments)

    def _ask(self, what: str, **arguments: Any) -> Any:
        """Have the head do something; return its answer. Raises RunFailed, Refused if the node is switched off."""
        with self._asking:
            self._asked += 1
            self._write({"do": what, "with": arguments, "id": self._asked})
            document = self._read()
            while document["id"] != self._asked:  # somebody did not wait for the answer to an earlier request
                document = self._read()
        if "off" in document:
            raise Refused(f"{self.places[document['off'] - 1].name} is switched off.", hint="boot_node starts it.")
        if "error" in document:
            raise RunFailed(f"the testbed cannot do this ({what}): {document['error'].rstrip('.')}.")
        return document["value"]

    def _write(self, document: Any) -> None:
        head = self._open()
        try:
            os.write(head[0].fileno(), json.dumps(document).encode() + b"\n")
        except OSError as error:
            raise self._ended() from error

    def _read(self) -> Any:
        _, answers = self._open()
        if not select.select([answers], [], [], _ANSWER_SECONDS)[0]:
            raise RunFailed(f"the testbed did not answer within {_ANSWER_SECONDS:g} s.")
        line = answers.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _open(self) -> tuple[IO[bytes], IO[bytes]]:
        self._holder()
        assert self._head is not None and self._head.stdin is not None and self._head.stdout is not None
        return self._head.stdin, self._head.stdout

    def _ended(self) -> RunFailed:
        log = self._folder / "head.log"
        said = log.read_text(errors="replace").strip().splitlines()[-1:]
        return RunFailed(f"the testbed has ended: {' '.join(said)}", where=str(log))
