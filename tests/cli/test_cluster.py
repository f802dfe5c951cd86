"""`engine cluster` on real loopback nodes: what is wrong is named, a sentence each, and the exit code says so."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from engine.cluster.testbed import Testbed
from tests.cli.conftest import Engine


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Testbed]:
    with Testbed.start(tmp_path / "bed", nodes=8, slots=1, workdir=tmp_path / "work") as bed:
        yield bed


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Testbed]:
    with Testbed.start(tmp_path / "bed", nodes=3, slots=2, workdir=tmp_path / "work") as bed:
        yield bed


def python_with_old_engine(folder: Path) -> Path:
    """Make a Python that has all packages of this one, but another plumbline."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    (site / "plumbline-0.0.9.dist-info").mkdir()
    (site / "plumbline-0.0.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plumbline\nVersion: 0.0.9\n"
    )
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def forget_host_key(bed: Testbed, index: int) -> None:
    """Have known_hosts hold another node's key as that of `node-INDEX`."""
    lines = bed.known_hosts.read_text().splitlines()
    [mine] = [number for number, line in enumerate(lines) if f":{bed.port(index)} " in line]
    [*_, other] = [line for number, line in enumerate(lines) if number != mine]
    lines[mine] = " ".join([lines[mine].split()[0], *other.split()[1:]])
    bed.known_hosts.write_text("\n".join(lines) + "\n")


def test_a_dead_node_a_wrong_host_key_and_an_old_engine_are_three_sentences_and_exit_code_4(
    engine: Engine, bed: Testbed, tmp_path: Path
) -> None:
    bed.stop_node(3)
    forget_host_key(bed, 5)
    old = python_with_old_engine(tmp_path / "old")
    bed.hostfile.write_text(f"# plumbline[node-7]: python={old}\n{bed.hostfile.read_text()}")

    said = engine("cluster", "check", "--hostfile", str(bed.hostfile))
    assert said.code == 4
    failures = [line for line in said.out.splitlines() if line.startswith("FAIL")]
    assert [line.split(":")[0].split()[1] for line in failures] == ["node-3", "node-5", "node-7"]
    assert f"port {bed.port(3)} of 127.0.0.4 refuses the connection" in failures[0]
    assert "HAS CHANGED" in failures[1]
    assert "an old engine, plumbline 0.0.9" in failures[2]
    assert "8 nodes: 5 ready, 3 not." in said.out

    told = engine("cluster", "check", "--hostfile", str(bed.hostfile), "--json")
    assert told.code == 4
    assert [(one["host"], one["aspect"], one["severity"]) for one in told.json["findings"]] == [
        ("node-3", "connection", "fail"),
        ("node-5", "connection", "fail"),
        ("node-7", "engine", "fail"),
    ]
    states = {node["host"]: node["state"] for node in told.json["nodes"]}
    assert [host for host, state in states.items() if state == "ok"] == [f"node-{index}" for index in (1, 2, 4, 6, 8)]
    first = told.json["nodes"][0]
    assert first["aspects"]["network"] == first["aspects"]["shared"] == "ok"
    assert abs(first["clock_skew"]) < 2


def test_inputs_of_a_spec_are_compared_with_this_machine(engine: Engine, three: Testbed, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n")
    spec = tmp_path / "spec.yaml"
    spec.write_text("kind: sft\nmodel:\n  architecture: {}\ndata:\n  train: train.jsonl\n  eval: gone.jsonl\n")
    said = engine("cluster", "check", "--hostfile", str(three.hostfile), "--spec", str(spec), "--json")
    assert said.code == 4
    gone = f"has no {tmp_path}/gone.jsonl, and neither has this machine."
    assert [(one["host"], one["message"]) for one in said.json["findings"]] == [
        (f"node-{index}", gone) for index in (1, 2, 3)
    ]
    digests = said.json["nodes"][0]["hashes"]
    assert digests[str(tmp_path / "train.jsonl")] == hashlib.sha256(b"{}\n").hexdigest()


def test_status_shows_every_node_and_names_the_one_that_is_away(engine: Engine, three: Testbed) -> None:
    three.stop_node(2)
    said = engine("cluster", "status", "--hostfile", str(three.hostfile))
    assert said.code == 5
    rows = [line.split() for line in said.out.splitlines()]
    assert [row[:3] for row in rows[1:4]] == [
        ["node-1", "free", "0/2"],
        ["node-2", "unreachable", "–"],
        ["node-3", "free", "0/2"],
    ]
    assert f"node-2: port {three.port(2)} of 127.0.0.3 refuses the connection." in said.out
    told = engine("cluster", "status", "--hostfile", str(three.hostfile), "--json")
    assert [node["error"] is None for node in told.json["nodes"]] == [True, False, True]
    assert told.json["nodes"][0]["cores"] > 0


def test_bench_measures_every_ordered_pair_and_the_sum_over_all_ranks(engine: Engine, three: Testbed) -> None:
    said = engine("cluster", "bench", "--hostfile", str(three.hostfile), "--seconds", "0.05", "--json")
    assert (said.code, said.json["problems"]) == (0, [])
    pairs = sorted(permutations(["node-1", "node-2", "node-3"], 2))
    for quantity in ("latency", "throughput"):
        assert sorted((one["from"], one["to"]) for one in said.json[quantity]["pairs"]) == pairs
        assert all(one["value"] > 0 for one in said.json[quantity]["pairs"])
    assert (said.json["allreduce"]["backend"], said.json["allreduce"]["ranks"]) == ("gloo", 3)
    assert said.json["allreduce"]["bus_bandwidth"] > 0


def test_a_node_without_torch_is_named_and_the_others_do_not_wait_for_it(
    engine: Engine, three: Testbed, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    line = f"# plumbline[node-2]: python={tmp_path}/bare/bin/python\n"
    three.hostfile.write_text(line + three.hostfile.read_text())
    said = engine("cluster", "bench", "--hostfile", str(three.hostfile), "--seconds", "0.02")
    assert said.code == 0
    problem = "The all-reduce could not be measured: node-2: ModuleNotFoundError: No module named 'torch'."
    assert problem in said.out.splitlines()


@pytest.mark.cluster
@pytest.mark.skipif(Testbed.can_isolate() is not None, reason=f"nodes cannot be isolated: {Testbed.can_isolate()}")
def test_bench_names_the_one_node_whose_link_is_slow(engine: Engine, tmp_path: Path) -> None:
    with Testbed.start(tmp_path / "bed", nodes=4, slots=1, workdir=tmp_path / "work", isolated=True) as bed:
        bed.impair(3, delay_ms=20.0)
        hostfile = str(bed.hostfile)
        said = engine("cluster", "bench", "--hostfile", hostfile, "--seconds", "0.2", "--no-allreduce")
        assert said.code == 0
        named = [line for line in said.out.splitlines() if "answers slowly" in line]
        assert [line.split()[0] for line in named] == ["node-3"]


def test_setup_says_what_to_put_into_the_hostfile_and_a_broken_wheel_is_a_sentence(
    engine: Engine, three: Testbed, tmp_path: Path
) -> None:
    broken = tmp_path / "plumbline-0.1.0-py3-none-any.whl"
    broken.write_bytes(b"no zip archive")
    said = engine("cluster", "setup", "--hostfile", str(three.hostfile), "--no-deps", "--wheel", str(broken))
    assert said.code == 1
    failures = [line for line in said.out.splitlines() if line.startswith("FAIL")]
    assert failures[0].startswith("FAIL  node-1: pip failed: ")
    assert failures[1:] == [
        f"FAIL  node-{index}: nothing was installed in the work directory that it shares." for index in (2, 3)
    ]
    assert "In the hostfile" not in said.out
