"""The environment of a rank: DeepSpeed's contract, and what only the node itself can know."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SIOCGIFADDR = 0x8915


def interface_towards(address: str) -> str | None:
    """Return the network interface by which this machine reaches an address; None if it cannot be told."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # a datagram socket: this sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                request = struct.pack("256s", name.encode()[:15])
                try:
                    answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                except OSError:
                    continue
                held = socket.inet_ntoa(answer[20:24])
                # All of 127.0.0.0/8 is the loopback interface, whose own address is 127.0.0.1.
                if held == own or (held.startswith("127.") and own.startswith("127.")):
                    return name
    except OSError:
        pass
    return None


def slot_numbers(job: Mapping[str, Any]) -> Sequence[int]:
    """Return the slots of a job's ranks, in their order."""
    given = job.get("slot_numbers")
    return range(len(job["ranks"])) if given is None else [int(number) for number in given]


def visible_devices(slots: Sequence[int], restricted: str | None) -> str:
    """Return CUDA_VISIBLE_DEVICES for slots: GPUs of these numbers, or at these places of `restricted` if it is set.

    Raises:
        ValueError: if a slot is not among them.
    """
    if not restricted:
        return ",".join(map(str, slots))
    devices = restricted.split(",")
    beyond = [slot for slot in slots if slot >= len(devices)]
    if beyond:
        raise ValueError(f"there is no slot {beyond[0]}: CUDA_VISIBLE_DEVICES={restricted} is set on this node")
    return ",".join(devices[slot].strip() for slot in slots)


def environment(job: Mapping[str, Any], rank: Mapping[str, Any], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a rank, beside what its agent adds. Raises ValueError if it names a GPU that is not."""
    slots = len(job["ranks"])
    given = {
        "RANK": rank["rank"],
        "LOCAL_RANK": rank["local_rank"],
        "WORLD_SIZE": job["world_size"],
        "LOCAL_WORLD_SIZE": slots,
        "LOCAL_SIZE": slots,
        "CROSS_RANK": job["node"],
        "CROSS_SIZE": job["nodes"],
        "MASTER_ADDR": job["master_address"],
        "MASTER_PORT": job["master_port"],
        "PYTHONUNBUFFERED": 1,
        **job["env"],
    }
    found: dict[str, str] = dict(inherited)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found.setdefault("OMP_NUM_THREADS", str(job["threads"] or max(1, cores // slots)))
    if job["threads"]:
        found["OMP_NUM_THREADS"] = str(job["threads"])
    interface = job["interface"] or interface_towards(job["master_address"])
    if interface:
        found.setdefault("GLOO_SOCKET_IFNAME", interface)
        found.setdefault("NCCL_SOCKET_IFNAME", interface)
    if Path("/dev/nvidia0").exists():
        found["CUDA_VISIBLE_DEVICES"] = visible_devices(slot_numbers(job), inherited.get("CUDA_VISIBLE_DEVICES"))
    else:
        # Idle threads that spin slow each other down as soon as a core has two of them.
        found.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        found.setdefault("GOMP_SPINCOUNT", "0")
    return found | {name: str(value) for name, value in given.items()}
