"""A node's share of an attempt as a task of a Slurm job: `srun … python -I -S agent.pyz --slurm RUN_DIR/attempt-N`.

It is the same agent, in a folder of its node's number, with two differences. It stays the task that Slurm started, so
that Slurm's limits, accounting and scancel hold it with all that it starts. And it learns only here what no one could
know before: which node it is, and where the ranks meet. A wish to stop at a checkpoint comes as a file: Slurm would
send a signal to each process of the job, the ranks' own helpers too, which die of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.cluster.node.agent import ALREADY_STARTED, Agent, claim
from engine.cluster.node.documents import write_json
from engine.cluster.node.exit_record import leave_record, read_record, unstarted_record

WISH = "wish.json"  # {"signal": "USR1" or "TERM", "by": "plumbline" or "slurm"}, in the folder of the attempt
MEETING = "meeting.json"  # {"address": …, "port": …, "job": …}: where the ranks meet
WISH_SECONDS = 0.5
MEETING_SECONDS = 120.0  # network file systems may hide a new file for a minute
_SIOCGIFADDR = 0x8915


def node_job(template: Mapping[str, Any], index: int, *, node: str, address: str, port: int) -> dict[str, Any]:
    """Return the job of one node's agent from what the whole attempt has in common.

    template: `slots` ranks a node; the other keys are those of every job, without what differs among the nodes.
    """
    common = {key: value for key, value in template.items() if key != "slots"}
    slots = int(template["slots"])
    return {
        **common,
        "node": index,
        "world_size": slots * int(template["nodes"]),
        "ranks": [{"rank": index * slots + local, "local_rank": local} for local in range(slots)],
        "master_address": address,
        "master_port": port,
        "slurm_node": node,
    }


def own_address(interface: str | None, others: Iterable[str], launcher: str | None) -> str:
    """Return the address by which the other nodes of the job reach this one.

    Args:
        interface: name of the network interface to use.
        others: names of the other nodes; what routes to them is the network that they share.
        launcher: address of srun as Slurm tells it, for the first node is where srun runs.

    Raises:
        OSError: if the interface has no address.
    """
    if interface is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        return socket.inet_ntoa(answer[20:24])
    for name in others:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((name, 9))  # a datagram socket: this sends nothing
            address: str = probe.getsockname()[0]
            if not address.startswith("127."):
                return address
    return launcher or socket.gethostname()


def _meet(attempt: Path, index: int, template: Mapping[str, Any]) -> tuple[str, int]:
    """Say where the ranks meet, or wait until node 0 says it."""
    if index == 0:
        names = os.environ.get("PLUMBLINE_NODES", "").split()
        launcher = os.environ.get("SLURM_LAUNCH_NODE_IPADDR")
        address = "127.0.0.1"
        if int(template["nodes"]) > 1:
            address = own_address(template.get("interface"), names[1:], launcher)
        with socket.socket() as listener:
            listener.bind(("", 0))
            port: int = listener.getsockname()[1]
        write_json(attempt / MEETING, {"address": address, "port": port})
        return address, port
    deadline = time.monotonic() + MEETING_SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((attempt / MEETING).read_text(encoding="utf-8"))
            return str(found["address"]), int(found["port"])
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"node 0 did not say within {MEETING_SECONDS:.0f} s where to meet: {attempt} must be on a file system "
                "that all nodes share"
            )
        time.sleep(0.1)


def _heed(attempt: Path) -> None:
    """Pass each wish to this process, once."""
    passed: set[str] = set()
    while True:
        with contextlib.suppress(OSError, ValueError):
            name = json.loads((attempt / WISH).read_text(encoding="utf-8"))["signal"]
            if name not in passed:
                passed.add(name)
                os.kill(os.getpid(), getattr(signal, f"SIG{name}"))
        time.sleep(WISH_SECONDS)


def _code(record: Mapping[str, Any]) -> int:
    """Return the exit code of a task that left this record; not 0 makes srun end the other nodes' tasks."""
    if record["why"] in ("ok", "interrupted"):
        return 0
    first = record["first"] or {"code": None, "signal": signal.SIGTERM}
    return int(first["code"] or (128 + first["signal"] if first["signal"] else 1))


def main(attempt: Path) -> int:
    """Run this node's share of an attempt, unless that was begun before; return the exit code if it was not run."""
    index, node = int(os.environ["SLURM_NODEID"]), os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    folder = attempt / f"node-{index}"
    if not attempt.is_dir():
        print(f"error: {node} does not see {attempt}: the work directory must be shared", file=sys.stderr)
        return 1
    folder.mkdir(exist_ok=True)
    if not claim(folder):
        return ALREADY_STARTED
    template = json.loads((attempt / "job.json").read_text(encoding="utf-8"))
    try:
        address, port = _meet(attempt, index, template)
        job = node_job(template, index, node=node, address=address, port=port)
        write_json(folder / "job.json", job)
        log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        agent = Agent(folder, job)
        agent.start()
    except Exception as error:
        traceback.print_exc()
        problem = f"the agent on {node} could not start: {error}"
        leave_record(folder, unstarted_record(index * int(template["slots"]), problem))
        return 1
    # The ranks are there: they die with the thread that forked them, which is this one.
    threading.Thread(target=_heed, args=(attempt,), daemon=True).start()
    agent.watch()
    # At once: as soon as this process lets go of its files, the undertaker ends what is left of the attempt.
    os._exit(_code(read_record(folder)))
