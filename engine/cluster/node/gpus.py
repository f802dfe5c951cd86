"""The GPUs of this machine and who uses them, as nvidia-smi tells."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.telemetry.progress import FOLDER_VARIABLE

SMI_SECONDS = 20.0  # without persistence mode, the driver first wakes every GPU
_MIB = 1 << 20
_GPU_FIELDS = (
    *("index", "uuid", "name", "driver_version", "memory.total", "memory.used", "utilization.gpu"),
    *("ecc.errors.uncorrected.volatile.total", "temperature.gpu", "power.draw", "pci.bus_id"),
)
_PROCESS_FIELDS = ("gpu_uuid", "pid", "used_memory", "process_name")  # a name may have commas, and so stands last


def gpu_facts(smi: str = "nvidia-smi") -> Mapping[str, Any]:
    """Return `gpus`, each with its `processes`; `driver`, its version; `gpu_problem`, a sentence if there are GPUs that
    do not answer. Null is what cannot be told."""
    rows = _ask(smi, "gpu", _GPU_FIELDS)
    if isinstance(rows, str):
        present = Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia").exists()
        return {"gpus": [], "driver": None, "gpu_problem": rows if present else None}
    users = _ask(smi, "compute-apps", _PROCESS_FIELDS)
    gpus = [
        {
            "index": _number(row[0]),
            "uuid": row[1],
            "name": row[2],
            "memory_total_bytes": _bytes(row[4]),
            "memory_used_bytes": _bytes(row[5]),
            "utilization_percent": _number(row[6]),
            "ecc_uncorrected": _number(row[7]),
            "temperature_c": _number(row[8]),
            "power_w": _decimal(row[9]),
            "bus": row[10],
            "processes": [] if isinstance(users, str) else [_process(user) for user in users if user[0] == row[1]],
        }
        for row in rows
    ]
    return {"gpus": gpus, "driver": rows[0][3] if rows else None, "gpu_problem": None}


def _ask(smi: str, what: str, fields: Sequence[str]) -> list[list[str]] | str:
    """Return what nvidia-smi says, one row a line; a sentence if it fails."""
    try:
        asked = subprocess.run(
            [smi, f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SMI_SECONDS,
            check=False,
        )
    except OSError as error:
        return f"nvidia-smi cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"nvidia-smi does not answer within {SMI_SECONDS:g} s"
    lines = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    if asked.returncode != 0:
        return f"nvidia-smi fails: {lines[-1] if lines else f'exit code {asked.returncode}'}"
    rows = [[cell.strip() for cell in line.split(",", len(fields) - 1)] for line in lines]
    return [row for row in rows if len(row) == len(fields)]


def _process(row: Sequence[str]) -> dict[str, Any]:
    pid = int(row[1])
    folder = _node_folder(pid)
    return {
        "pid": pid,
        "command": row[3],
        "user": _user(pid),
        "memory_bytes": _bytes(row[2]),
        "ours": folder is not None or _below_an_agent(pid),
        "folder": folder,
    }


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _decimal(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return None


def _bytes(text: str) -> int | None:
    amount = _number(text)
    return None if amount is None else amount * _MIB


def _user(pid: int) -> str | None:
    try:
        return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name  # noqa: PTH116
    except (OSError, KeyError):
        return None


def _node_folder(pid: int) -> str | None:
    """Return where the agent of the run works that a process belongs to; None if that cannot be told."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    name = f"{FOLDER_VARIABLE}=".encode()
    return next((word[len(name) :].decode("utf-8", "replace") for word in environ if word.startswith(name)), None)


def _below_an_agent(pid: int) -> bool:
    """Whether a process, or one above it, is the agent of a run."""
    while pid > 1:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(word.endswith(b"/agent.pyz") for word in command):
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False
