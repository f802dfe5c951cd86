"""The program that holds an isolated testbed: first in its process namespace, so that all its nodes end with it.

It stands in namespaces that `unshare` made, with a bridge between the nodes. It reads a plan and then requests from
standard input, one JSON document a line, answers each on standard output, and ends with its input, however its holder
ends. Standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from engine.cluster.testbed import namespaces, slow_link
from engine.cluster.testbed.first_process import INTERFACE, FirstProcess

BRIDGE = "br0"
_BRIDGE_INDEX = 255
_FILLER_PIECE = 1 << 20  # bytes


class _Node:
    """A node that is switched on."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid  # of its first process
        self.control = control
        self.lines = control.makefile("r", encoding="utf-8")
        self.shaper: int | None = None  # the process that slows its link down

    def ask(self, what: str, **arguments: Any) -> None:
        """Send a request."""
        self.control.sendall(json.dumps({"do": what, "with": arguments}).encode() + b"\n")

    def answer(self) -> Any:
        """Return the answer to the request before. Raises OSError."""
        line = self.lines.readline()
        if not line:
            raise OSError("the node has ended by itself")
        document = json.loads(line)
        if "error" in document:
            raise OSError(document["error"])
        return document["value"]


class Head:
    """The bridge and the nodes.

    plan: `folder`, `ip` (path of iproute2's), `address` and `prefix` of the bridge, `instead` (files that nodes have,
    by the system's path), `workdir`, `disk_mb` (null: no disks of their own), and `nodes`: for each `name`, `address`,
    `port`, `log` and `sshd` (its command).
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._nodes: dict[int, _Node] = {}
        self._disks: dict[int, Path] = {}

    def do_up(self, seconds: float) -> list[int]:
        """Make the bridge and all nodes; return the nodes whose sshd does not answer in time."""
        for name in ("lo", BRIDGE):
            if name == BRIDGE:
                self._ip(f"link add name {BRIDGE} address {_mac(_BRIDGE_INDEX)} type bridge")
                self._ip(f"address add {self._plan['address']}/{self._plan['prefix']} dev {BRIDGE}")
            self._ip(f"link set {name} up")
        everyone = range(1, len(self._plan["nodes"]) + 1)
        for index in everyone:
            self._make_disk(index)
        return self._boot(everyone, seconds)

    def do_boot(self, node: int, seconds: float) -> list[int]:
        """Switch a node on again."""
        return [] if node in self._nodes else self._boot([node], seconds)

    def do_kill(self, node: int) -> None:
        """Switch a node off: none of its connections is told."""
        gone = self._nodes.pop(node)
        self._ip(f"link set {_port(node)} down")
        self._end_shaper(gone, node)
        os.kill(gone.pid, signal.SIGKILL)
        os.waitpid(gone.pid, 0)
        gone.control.close()
        # Its namespace takes the interface along, but not at once.
        with contextlib.suppress(OSError):
            self._ip(f"link delete {_port(node)}")

    def do_start_daemons(self, nodes: Sequence[int], seconds: float) -> list[int]:
        """Start sshd on these nodes; return the nodes where it does not answer in time."""
        for index in nodes:
            self._nodes[index].ask("start_daemon", seconds=seconds)
        return [index for index in nodes if not self._nodes[index].answer()]

    def do_node(self, node: int, request: str, arguments: Mapping[str, Any]) -> Any:
        """Have a node answer a request itself."""
        self._nodes[node].ask(request, **arguments)
        return self._nodes[node].answer()

    def do_link(self, node: int, up: bool) -> None:
        """Cut a node's link to the bridge, or mend it."""
        self._ip(f"link set {_port(node)} {'up' if up else 'down'}")

    def do_impair(self, node: int, delay: float, loss: float) -> None:
        """Slow a node's link down by `delay` seconds each way, and lose a share of its frames; zeros: as it was."""
        found = self._nodes[node]
        self._end_shaper(found, node)
        if delay or loss:
            port, near, far = _port(node), f"s{node}", f"t{node}"
            self._ip(
                f"link add name {near} type veth peer name {far}",
                f"link set {port} nomaster",
                f"link set {far} master {BRIDGE}",
                f"link set {near} up",
                f"link set {far} up",
            )
            for name in (port, near):  # they have no address, and must not answer for the bridge's
                Path(f"/proc/sys/net/ipv4/conf/{name}/arp_ignore").write_text("8")
            found.shaper = slow_link.start(port, near, delay, loss)

    def do_fill_disk(self, node: int) -> None:
        """Leave no byte free on a node's disk."""
        with (self._disks[node] / "filler").open("ab") as file:
            piece = _FILLER_PIECE
            while piece:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                except OSError:
                    piece //= 2

    def do_free_disk(self, node: int) -> None:
        """Take away what filled it."""
        (self._disks[node] / "filler").unlink(missing_ok=True)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request."""
        try:
            return {"value": getattr(self, f"do_{request['do']}")(**request["with"])}
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None)
            return {"error": str(said or error).strip()}
        except KeyError as error:
            return {"off": error.args[0]}

    def _boot(self, indices: Sequence[int], seconds: float) -> list[int]:
        for index in indices:
            self._nodes[index] = self._fork(index)
        lines = []
        for index in indices:
            port, pid = _port(index), self._nodes[index].pid
            # Always the same card: else the others would know it by the old one for a while.
            lines.append(f"link add name {port} type veth peer name {INTERFACE} address {_mac(index)} netns {pid}")
            lines += [f"link set {port} master {BRIDGE}", f"link set {port} up"]
        self._ip(*lines)
        for index in indices:
            self._nodes[index].ask("network")
        for index in indices:
            self._nodes[index].answer()
        return self.do_start_daemons(indices, seconds)

    def _fork(self, index: int) -> _Node:
        """Start the first process of a node in namespaces of its own."""
        node = dict(self._plan["nodes"][index - 1])
        node["boot_id"] = f"{self._plan['folder']}/{node['name']}/boot_id"
        node["disk"] = str(self._disks[index] / "work") if index in self._disks else None
        Path(node["boot_id"]).write_text(f"{uuid.uuid4()}\n")
        ours, theirs = socket.socketpair()
        between = os.fork()
        if between == 0:
            try:
                ours.close()
                for other in self._nodes.values():
                    os.close(other.control.fileno())
                _become_node(theirs, self._plan, node)
            except BaseException as error:
                theirs.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            finally:
                os._exit(1)
        theirs.close()
        os.waitpid(between, 0)
        found = _Node(0, ours)
        told = found.answer() | found.answer()  # by it, and by its parent
        found.pid = told["pid"]
        return found

    def _make_disk(self, index: int) -> None:
        if self._plan["disk_mb"] is None:
            return
        disk = Path(self._plan["folder"]) / self._plan["nodes"][index - 1]["name"] / "disk"
        disk.mkdir(parents=True, exist_ok=True)
        namespaces.mount("tmpfs", str(disk), "tmpfs", options=f"size={self._plan['disk_mb']}m,mode=0755")
        (disk / "work").mkdir()
        self._disks[index] = disk

    def _end_shaper(self, node: _Node, index: int) -> None:
        if node.shaper is None:
            return
        os.kill(node.shaper, signal.SIGKILL)
        os.waitpid(node.shaper, 0)
        node.shaper = None
        self._ip(f"link delete s{index}", f"link set {_port(index)} master {BRIDGE}")

    def _ip(self, *lines: str) -> None:
        text = "\n".join(lines) + "\n"
        subprocess.run([self._plan["ip"], "-batch", "-"], input=text, text=True, check=True, capture_output=True)


def _port(index: int) -> str:
    """Return the bridge's end of a node's link."""
    return f"v{index}"


def _mac(index: int) -> str:
    """Return a hardware address of a kind that no maker gives out."""
    return f"02:10:78:00:00:{index:02x}"


def _become_node(control: socket.socket, plan: Mapping[str, Any], node: Mapping[str, Any]) -> None:
    """Never return: be the first process of a node, or the parent that ends as soon as there is one."""
    namespaces.unshare(
        namespaces.NEW_MOUNTS
        | namespaces.NEW_NETWORK
        | namespaces.NEW_HOSTNAME
        | namespaces.NEW_IPC
        | namespaces.NEW_PIDS
    )
    pid = os.fork()
    if pid:
        control.sendall(json.dumps({"value": {"pid": pid}}).encode() + b"\n")
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.setsid()
    first = FirstProcess(control, plan, node)
    first.furnish()
    control.sendall(b'{"value": {}}\n')
    first.serve()


def main(requests: IO[str]) -> None:
    """Answer until the requests end."""
    os.chdir("/")
    head = Head(json.loads(requests.readline()))
    for line in requests:
        request = json.loads(line)
        sys.stdout.write(json.dumps(head.answer(request) | {"id": request["id"]}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.stdin)
