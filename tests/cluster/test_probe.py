"""The probe on this machine: what it finds is so, and a fault of the node is told as a fact, not as an error."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.checking import here
from engine.cluster.hostfile import Node
from engine.cluster.node import gpus, probe
from engine.cluster.node.digests import hashes
from engine.cluster.preflight import Facts, examine


def tell(header: Any, data: bytes = b"") -> None:
    assert "size" not in header  # of the protocol: so many bytes follow


def probed(workdir: Path, python: str = sys.executable) -> Any:
    return probe.probe(
        tell, python=python, workdir=str(workdir), packages=["plumbline", "no-such-thing"], interface="x"
    )


def test_this_machine_runs_what_it_compares_others_with(tmp_path: Path) -> None:
    found = probed(tmp_path)
    assert found["versions"] == {"plumbline": version("plumbline"), "no-such-thing": None}
    assert found["code"] == here().code
    assert found["python"] == {"path": sys.executable, "version": sys.version.split()[0], "problem": None}
    assert found["interface"] is False
    assert found["memory"]["total"] > found["memory"]["available"] > 0
    assert found["workdir"]["problem"] is None and found["workdir"]["free"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_work_directory_that_is_not_there_yet_is_judged_by_where_it_would_be_made(tmp_path: Path) -> None:
    assert probed(tmp_path / "a" / "b")["workdir"]["problem"] is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert probed(tmp_path / "file" / "b")["workdir"]["problem"] == f"{tmp_path}/file is not a folder"
    assert "cannot be written to" in probed(Path("/proc/plumbline"))["workdir"]["problem"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "cannot be run: No such file or directory"),
        ("#!/bin/sh\necho 'no module named site' >&2\nexit 3\n", "cannot be run: no module named site"),
    ],
)
def test_a_python_that_does_not_run_is_a_sentence(tmp_path: Path, script: str | None, words: str) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    found = probed(tmp_path, str(python))
    assert found["python"]["problem"] == f"{python} {words}"
    assert found["versions"] == {}
    [finding] = [one for one in examine([Facts(Node("node-1", 1), found)], here()) if one.aspect == "python"]
    assert finding.message == f"{python} {words}."


def test_code_that_differs_in_one_byte_or_one_name_has_another_hash(tmp_path: Path) -> None:
    package = tmp_path / "engine"
    (package / "below").mkdir(parents=True)
    file = package / "below" / "x.py"
    file.write_text("1\n")
    first = probe.code_hash(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("compiled")
    assert probe.code_hash(package) == first
    file.write_text("2\n")
    assert probe.code_hash(package) != first
    file.write_text("1\n")
    file.rename(package / "x.py")
    assert probe.code_hash(package) != first


def test_a_lock_of_a_compilation_is_stale_when_it_is_older_than_any_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    old, new = (tmp_path / "extensions" / "py311_cpu" / name / "lock" for name in ("old", "new"))
    for lock in (old, new):
        lock.parent.mkdir(parents=True)
        lock.write_text("")
    os.utime(old, (0, time.time() - 3600))
    assert probed(tmp_path)["stale_locks"] == [str(old)]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm on this system")
def test_buffers_in_shared_memory_are_leftovers_only_when_no_process_has_them() -> None:
    path = Path(f"/dev/shm/deepspeed_allreduce_test_{os.getpid()}")
    before = probe._shared_memory(path.parent)
    assert before is not None
    path.write_bytes(bytes(4096))
    try:
        left = probe._shared_memory(path.parent)
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
            used = probe._shared_memory(path.parent)
    finally:
        path.unlink()
    assert left is not None and used is not None
    assert left["leftovers"] == before["leftovers"] + 1
    assert left["leftover_bytes"] == before["leftover_bytes"] + 4096
    assert used["leftovers"] == before["leftovers"]


# What nvidia-smi of driver 580.159.04 said on a machine with an H200, of which a process held 3 GiB; and an older GPU.
SMI = """\
#!{python}
import sys
what, fields = sys.argv[1].split("=")
first = dict(index="0", uuid="GPU-78475f92", gpu_uuid="GPU-78475f92", name="NVIDIA H200", pid="{pid}")
first |= {"driver_version": "580.159.04", "memory.total": "143771", "memory.used": "3691", "used_memory": "3682"}
first |= {"process_name": "python3 -c a, b"}
second = dict(index="1", uuid="GPU-1", name="NVIDIA A10")
for gpu, other in [(first, "0"), (second, "[N/A]")][: 2 if what == "--query-gpu" else 1]:
    print(", ".join(gpu.get(field, other) for field in fields.split(",")))
"""


def test_gpus_are_read_as_nvidia_smi_tells_them_and_our_ranks_known_by_the_agent_above_them(tmp_path: Path) -> None:
    smi, agent = tmp_path / "nvidia-smi", tmp_path / "agent.pyz"
    agent.write_text("import subprocess, sys\nsubprocess.run(['sleep', '60'])\n")
    ours = subprocess.Popen([sys.executable, str(agent)])
    theirs = subprocess.Popen(["sleep", "60"])
    try:
        found = {}
        for name, pid in [("ours", _child_of(ours.pid)), ("theirs", theirs.pid)]:
            smi.write_text(SMI.replace("{pid}", str(pid)).replace("{python}", sys.executable))
            smi.chmod(0o755)
            found[name] = gpus.gpu_facts(str(smi))
    finally:
        subprocess.run(["kill", str(_child_of(ours.pid)), str(theirs.pid)], check=True)
        ours.wait()
        theirs.wait()
    first, second = found["theirs"]["gpus"]
    assert found["theirs"]["driver"] == "580.159.04" and found["theirs"]["gpu_problem"] is None
    assert (first["name"], first["memory_total_bytes"], first["ecc_uncorrected"]) == ("NVIDIA H200", 143771 << 20, 0)
    assert (second["index"], second["utilization_percent"], second["ecc_uncorrected"]) == (1, None, None)
    [process] = first["processes"]
    assert (process["command"], process["memory_bytes"]) == ("python3 -c a, b", 3682 << 20)
    assert second["processes"] == []
    owners = {name: facts["gpus"][0]["processes"][0]["ours"] for name, facts in found.items()}
    assert owners == {"ours": True, "theirs": False}


def _child_of(parent: int) -> int:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("it has no child")


def test_inputs_are_hashed_and_what_is_missing_or_unfit_is_told(tmp_path: Path) -> None:
    data, model = tmp_path / "train.jsonl", tmp_path / "model"
    data.write_text("{}\n")
    model.mkdir()
    (model / "config.json").write_text("{}")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "link").symlink_to("nowhere")

    def ask() -> Any:
        paths = [str(data), str(model), str(tmp_path / "missing"), str(tmp_path / "bad")]
        return hashes(tell, workdir=str(tmp_path / "work"), paths=paths)

    first = ask()
    assert first["hashes"][str(tmp_path / "missing")] is None
    assert first["problems"] == {str(tmp_path / "bad"): f"{tmp_path}/bad/link is a link to nothing"}
    assert ask() == first
    data.write_text("[]\n")
    (model / "config.json").rename(model / "other.json")
    second = ask()["hashes"]
    assert second[str(data)] != first["hashes"][str(data)]
    assert second[str(model)] != first["hashes"][str(model)]
