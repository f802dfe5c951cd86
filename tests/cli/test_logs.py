"""`engine logs`: copies with what was left out of them, and whole logs on real loopback nodes."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.hostfile import load_hostfile
from engine.cluster.testbed import Testbed
from engine.dispatch.placement import place, to_rows
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments
from engine.store.database import Store
from tests.cli.conftest import SPEC, Engine

MB = 1 << 20


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Testbed]:
    with Testbed.start(tmp_path / "bed", nodes=2, slots=2, workdir=tmp_path / "work") as bed:
        yield bed


@pytest.fixture
def run_dir(two: Testbed, database: Path, tmp_path: Path) -> Path:
    """The run directory of sft-0001, begun twice on two nodes with two ranks each."""
    hosts, run_dir = load_hostfile(two.hostfile), tmp_path / "work/sft-0001"
    store, spec = Store.open(database), parse_spec(SPEC)
    identity = experiments.create(store, spec, hostfile_text=hosts.text)
    for number in (1, 2):
        placement = to_rows(place(hosts.nodes, spec.placement))
        attempts.begin(store, identity, run_dir=str(run_dir), placement=placement)
        for rank in range(4):
            log = run_dir / f"attempt-{number}/node-{rank // 2}/rank-{rank}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"rank {rank} begins\nattempt {number}\n")
        if number == 1:
            attempts.transition(
                store, identity, 1, experiments.State.FAILED, again=attempts.Again("again", not_before=0.0, faults=1)
            )
    store.close()
    return run_dir


def test_a_needle_in_a_log_of_fifty_megabytes_is_found_on_its_node_and_every_line_can_be_read(
    engine: Engine, run_dir: Path
) -> None:
    log = run_dir / "attempt-2/node-1/rank-3.log"
    with log.open("w") as file:
        count = 0
        while file.tell() < 50 * MB:
            file.write(
                "".join(f"step {number} loss 2.71828 and other words\n" for number in range(count, count + 10_000))
            )
            count += 10_000
            if count == 400_000:
                file.write("here is the needle\r\n")
    tracemalloc.start()
    found = engine("logs", "sft-0001", "--remote", "--rank", "3", "--grep", "needle$")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.code, found.out, found.err) == (0, "here is the needle\n", "")
    assert peak < 30 * MB
    assert engine("logs", "sft-0001", "--remote", "--node", "node-2", "--rank", "3", "--tail", "2").out == "".join(
        f"step {number} loss 2.71828 and other words\n" for number in (count - 2, count - 1)
    )
    whole = engine("logs", "sft-0001", "--remote", "--rank", "3").out
    assert whole.count("\n") == count + 1 and whole == log.read_text().replace("\r", "")


def test_each_rank_of_each_attempt_is_read_on_its_own_node(engine: Engine, run_dir: Path) -> None:
    first = engine("logs", "sft-0001", "--remote", "--attempt", "1")
    assert first.out == "rank 0 begins\nattempt 1\n" and "rank 0 of 4; --rank all shows every one." in first.err
    every = engine("logs", "sft-0001", "--remote", "--rank", "all", "--grep", "begins", "--json")
    assert list(map(json.loads, every.out.splitlines())) == [
        {"rank": rank, "line": f"rank {rank} begins"} for rank in range(4)
    ]
    second = engine("logs", "sft-0001", "--remote", "--node", "1", "--rank", "all", "--tail", "1")
    assert second.out == "2 │ attempt 2\n3 │ attempt 2\n"


def test_a_log_that_is_not_there_is_code_3_and_a_node_that_is_away_code_5_after_what_the_others_have(
    engine: Engine, run_dir: Path, two: Testbed
) -> None:
    assert engine("logs", "sft-0001", "--remote", "--rank", "4").code == 3
    assert engine("logs", "sft-0001", "--remote", "--attempt", "3").code == 3
    assert engine("logs", "sft-0001", "--remote", "-f").code == 2
    (run_dir / "attempt-2/node-0/rank-1.log").unlink()
    gone = engine("logs", "sft-0001", "--remote", "--rank", "1")
    assert gone.code == 3 and gone.err == "error: node-1: sft-0001 has no log of rank 1 there.\n"
    two.stop_node(1)
    away = engine("logs", "sft-0001", "--remote", "--rank", "0")
    assert away.code == 5 and f"node-1: port {two.port(1)} of 127.0.0.2 refuses the connection." in away.err
    assert len(away.err.splitlines()) == 1 and away.out == ""
    others = engine("logs", "sft-0001", "--remote", "--rank", "all")
    assert others.code == 5 and others.out.count("begins") == 2


def test_what_was_left_out_of_a_copy_is_one_line_even_where_only_matches_are_shown(
    engine: Engine, run_dir: Path, database: Path
) -> None:
    copy = database.with_name("experiments.runs") / "sft-0001/attempt-2/node-0/rank-0.log"
    copy.parent.mkdir(parents=True)
    with copy.open("wb") as file:
        file.write(b"one\ncut of")
        file.seek(10_000_000_000, os.SEEK_CUR)
        file.write(b"f here\ntwo")
    left_out = "… 10.0 GB left out; engine logs sft-0001 --attempt 2 --rank 0 --remote reads the file itself …"
    assert engine("logs", "sft-0001").out.splitlines() == ["one", "cut of", left_out, "f here", "two"]
    assert engine("logs", "sft-0001", "--grep", "^t", "--tail", "2").out.splitlines() == [left_out, "two"]
    told = [json.loads(line) for line in engine("logs", "sft-0001", "--json", "--tail", "3").out.splitlines()]
    assert told == [
        {"rank": 0, "line": None, "left_out": 10_000_000_000},
        {"rank": 0, "line": "f here"},
        {"rank": 0, "line": "two"},
    ]
