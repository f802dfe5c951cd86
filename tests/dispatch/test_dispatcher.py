"""The dispatcher with real processes and real SSH: what should run runs, and every fact arrives once."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from engine.cluster.hostfile import parse_hostfile
from engine.cluster.node.processes import process_start
from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.inputs import pin_awaited, resolve_references
from engine.errors import ExitCode
from engine.spec.loading import parse_spec
from engine.store import attempts, events, experiments, series
from engine.store.inputs import inputs_of
from engine.telemetry.states import Desired, State
from tests.dispatch.conftest import SPEC, House


def node_folder(house: House, identity: str, node: int, attempt: int = 1) -> Path:
    """Where the agent works, on the node itself."""
    found = attempts.list_attempts(house.store, identity)[attempt - 1]
    return Path(found.run_dir) / f"attempt-{attempt}" / f"node-{node}"


def agent_pid(house: House, identity: str, node: int) -> int:
    return int(json.loads((node_folder(house, identity, node) / "agent.json").read_text())["pid"])


def test_a_run_on_two_nodes_ends_well_and_its_logs_are_here_byte_for_byte(house: House) -> None:
    identity = house.launch(steps=80)
    found = house.succeeded(identity, 80)
    assert (found.total_steps, found.nodes, found.exit_code) == (80, 2, ExitCode.DONE)
    for node, ranks in ((0, (0, 1)), (1, (2, 3))):
        for rank in ranks:
            original = node_folder(house, identity, node) / f"rank-{rank}.log"
            copy = house.store.runs_dir / identity / f"attempt-1/node-{node}/rank-{rank}.log"
            assert copy.read_bytes() == original.read_bytes()
            assert f"step 80 of rank {rank}" in copy.read_text()


def test_killing_the_dispatcher_again_and_again_loses_nothing(house: House) -> None:
    identity = house.launch(steps=150, note="pause=0.05")
    for step in (1, 40, 80):
        house.until_step(identity, step)
        house.kill_dispatcher()
        time.sleep(0.3)
        house.wake()
    found = house.succeeded(identity, 150)
    assert found.attempts == 1


def test_restarting_the_ssh_daemon_and_breaking_connections_loses_nothing(house: House, nodes: Testbed) -> None:
    identity = house.launch(steps=200, note="pause=0.02")
    house.until_step(identity, 20)
    nodes.drop_connections(1)
    house.until_step(identity, 60)
    nodes.stop_node(1)
    nodes.drop_connections(1)
    house.until(lambda: any(contact.message for contact in attempts.contacts(house.store, identity)))
    nodes.start_node(1)
    found = house.succeeded(identity, 200)
    assert found.attempts == 1
    told = [event.event for event in events.list_events(house.store, identity)]
    assert "contact_lost" in told and "contact_regained" in told


def test_a_stop_leaves_a_checkpoint_and_a_resumed_run_continues_its_curve(house: House) -> None:
    identity = house.launch(steps=100, note="pause=0.02")
    house.until_step(identity, 10)
    experiments.set_desired(house.store, identity, Desired.STOP)
    stopped = house.ended(identity)
    assert (stopped.state, stopped.exit_code) == (State.STOPPED, ExitCode.INTERRUPTED)
    assert 10 <= stopped.step < 100
    assert events.last_checkpoint(house.store, identity) == stopped.step
    experiments.resume(house.store, identity)
    house.wake()
    found = house.succeeded(identity, 100)
    assert found.attempts == 2
    assert attempts.list_attempts(house.store, identity)[1].resumed_step == stopped.step
    assert len(set(series.read(house.store, identity, "loss").attempt)) == 2


def test_a_kill_ends_every_rank_at_once(house: House) -> None:
    identity = house.launch(steps=10_000)
    house.until_step(identity, 5)
    agents = [agent_pid(house, identity, node) for node in (0, 1)]
    experiments.set_desired(house.store, identity, Desired.STOP_NOW)
    found = house.ended(identity)
    assert (found.state, found.exit_code, found.reason) == (State.STOPPED, ExitCode.INTERRUPTED, "stopped at once.")
    house.until(lambda: not any(process_start(pid) for pid in agents))


def test_a_rank_that_fails_ends_the_gang_and_the_reason_is_its_last_words(house: House) -> None:
    identity = house.launch(steps=10_000, note="pause=0.01 fail=20:2")
    found = house.ended(identity)
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.RUN_FAILED)
    assert found.reason == "rank 2 (node-2, slot 0) exited with code 1: error: the worker was told to fail."
    record = json.loads((node_folder(house, identity, 0) / "exit.json").read_text())
    assert record["why"] == "stopped"


def test_a_killed_agent_makes_the_run_lost_and_ends_it_everywhere(house: House) -> None:
    identity = house.launch(steps=10_000)
    house.until_step(identity, 5)
    os.kill(agent_pid(house, identity, 1), signal.SIGKILL)
    found = house.ended(identity)
    assert found.state is State.LOST
    assert found.reason == "the agent of the run on node-2 was killed; its ranks were ended."
    assert (node_folder(house, identity, 0) / "exit.json").exists()


def test_after_a_fault_of_the_cluster_it_goes_on_by_itself_and_says_so_meanwhile(house: House) -> None:
    identity = house.launch(steps=200, note="pause=0.05", retries=1)
    house.until_step(identity, 5)
    os.kill(agent_pid(house, identity, 1), signal.SIGKILL)
    house.until(lambda: house.get(identity).state is State.QUEUED)
    assert "(1 of 1): the agent of the run on node-2 was killed" in str(house.get(identity).reason)
    assert house.succeeded(identity, 200).attempts == 2
    assert attempts.list_attempts(house.store, identity)[0].state is State.LOST


def test_a_host_that_is_not_there_fails_the_run_with_code_5_and_says_where_and_why(house: House) -> None:
    dead = house.hostfile.replace("node-2 slots", "127.0.0.1 slots")
    identity = house.launch(hostfile=dead)
    found = house.ended(identity)
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.UNREACHABLE)
    assert "127.0.0.1" in str(found.reason) and "22" in str(found.reason)
    assert not attempts.list_attempts(house.store, identity)[0].started_at


def test_missing_data_is_refused_before_the_start_with_code_4(house: House) -> None:
    identity = house.launch(data="/no/such/facts.jsonl")
    found = house.ended(identity)
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.REFUSED)
    assert "/no/such/facts.jsonl" in str(found.reason) and "node-1" in str(found.reason)


def test_a_run_takes_what_another_one_made_and_its_nodes_find_it(house: House) -> None:
    parent = house.launch(steps=3, name="base")
    house.succeeded(parent, 3)
    spec = parse_spec(SPEC.format(steps=3, note="pause=0", data="'${base.model}/config.json'", retries=0))
    resolved, taken = resolve_references(house.store, spec, parse_hostfile(house.hostfile, "hostfile"))
    child = experiments.create(house.store, resolved, hostfile_text=house.hostfile, inputs=taken)
    house.wake()
    house.succeeded(child, 3)
    assert [(each.parent_name, each.input.sha256, each.input.step) for each in inputs_of(house.store, child)] == [
        ("base", "ab" * 32, 3)
    ]
    written = (node_folder(house, child, 0).parents[1] / "spec.yaml").read_text()
    assert f"train: {attempts.list_attempts(house.store, parent)[0].run_dir}/export/config.json" in written


def test_a_stage_waits_for_the_one_that_makes_its_input_and_then_takes_it(house: House) -> None:
    house.succeeded(house.launch(steps=3, name="other"), 3)
    parent = house.launch(steps=60, note="pause=0.05", name="base")
    spec = parse_spec(SPEC.format(steps=3, note="pause=0", data="'${base.model}/config.json'", retries=0))
    pinned, awaited = pin_awaited(house.store, spec)
    assert awaited == [parent]
    child = experiments.create(house.store, pinned, hostfile_text=house.hostfile, after=awaited)
    house.wake()
    house.until(lambda: house.get(child).reason == f"waits for {parent} to succeed")
    house.succeeded(child, 3)
    assert [(each.input.parent_id, each.input.sha256) for each in inputs_of(house.store, child)] == [
        (parent, "ab" * 32)
    ]
    assert pin_awaited(house.store, spec) == (spec, []), "what is there is not waited for"
    again = house.launch(steps=60, note="pause=0.05", name="base")
    assert pin_awaited(house.store, spec) == (spec, [])
    assert pin_awaited(house.store, spec, after=[again])[1] == [again]


def test_a_stage_that_waited_is_refused_by_its_plan_unless_it_was_forced(house: House) -> None:
    parent = house.launch(steps=60, note="pause=0.05", name="base")
    text = SPEC.format(steps=3, note="pause=0", data="'${base.model}/config.json'", retries=0)
    huge = "{hidden_size: 16384, layers: 100, heads: 128, intermediate_size: 53248}"
    pinned, awaited = pin_awaited(house.store, parse_spec(text.replace("architecture: {}", f"architecture: {huge}")))
    plain, forced = (
        experiments.create(house.store, pinned, hostfile_text=house.hostfile, after=awaited, forced=each)
        for each in (False, True)
    )
    house.wake()
    refused = house.ended(plain)
    assert (refused.state, refused.exit_code) == (State.FAILED, ExitCode.REFUSED), refused
    assert attempts.list_attempts(house.store, plain) == []
    house.succeeded(forced, 3)
    assert house.get(parent).state is State.SUCCEEDED


def test_a_reference_that_nobody_looked_up_is_refused_before_the_start(house: House) -> None:
    found = house.ended(house.launch(data="'${base.model}/config.json'"))
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.REFUSED)
    assert "data.train is ${base.model}/config.json" in str(found.reason)


def test_more_nodes_than_the_hostfile_has_are_refused(house: House) -> None:
    spec = "kind: sft\nmodel: {architecture: {}}\ndata: {train: x}\nplacement: {nodes: 3}\n"
    identity = experiments.create(house.store, parse_spec(spec), hostfile_text=house.hostfile)
    house.wake()
    found = house.ended(identity)
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.REFUSED)
    assert "asks for 3 nodes; the hostfile has 2" in str(found.reason)


def test_a_second_run_waits_for_the_nodes_says_so_and_then_runs(house: House) -> None:
    first = house.launch(steps=100, note="pause=0.02")
    second = house.launch(steps=10)
    third = house.launch(steps=10, after=[second])
    house.until(lambda: "needs 2 nodes, none free; next end ≈ " in str(house.get(second).reason))
    assert str(house.get(second).reason).endswith(f", {first}")
    assert house.get(third).reason == f"waits for {second} to succeed"
    house.succeeded(first, 100)
    house.succeeded(second, 10)
    house.succeeded(third, 10)
    assert house.get(third).reason is None


def test_a_queued_run_that_is_stopped_never_starts(house: House) -> None:
    first = house.launch(steps=10_000)
    second = house.launch()
    house.until(lambda: house.get(second).reason)
    experiments.set_desired(house.store, second, Desired.STOP)
    assert house.ended(second).state is State.STOPPED
    assert attempts.list_attempts(house.store, second) == []
    assert not house.get(first).state.ended


def test_it_leaves_by_itself_when_there_is_nothing_to_do_and_comes_back_when_there_is(house: House) -> None:
    house.succeeded(house.launch(steps=5), 5)
    house.until(lambda: not lifecycle.status(house.store.path).running)
    house.succeeded(house.launch(steps=5), 5)


def test_many_wakers_start_one_dispatcher(house: House) -> None:
    import threading

    experiments.create(house.store, experiments.get_spec(house.store, house.launch(steps=30)))
    wakers = [threading.Thread(target=house.wake) for _ in range(6)]
    for waker in wakers:
        waker.start()
    for waker in wakers:
        waker.join()
    log = lifecycle.log_path(house.store.path)
    house.until(lambda: "dispatches" in log.read_text())  # it says so soon after it holds the lock
    assert log.read_text().count("dispatches") == 1


def test_a_log_of_many_megabytes_and_of_hostile_bytes_arrives_whole(house: House, tmp_path: Path) -> None:
    identity = house.launch(steps=100, note="pause=0.02")
    house.until_step(identity, 1)
    noise = os.urandom(3_000_000)
    with (node_folder(house, identity, 1) / "rank-3.log").open("ab") as log:
        log.write(noise)
    house.succeeded(identity, 100)
    copy = house.store.runs_dir / identity / "attempt-1/node-1/rank-3.log"
    assert noise in copy.read_bytes()


def test_when_this_machine_cannot_write_the_run_says_so_goes_on_and_is_caught_up_with(house: House) -> None:
    obstacle = house.store.runs_dir / "sft-0001" / "attempt-1"  # a file where a folder should be
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("")
    identity = house.launch(steps=150, note="pause=0.02")
    house.until(lambda: any("cannot write" in str(c.message) for c in attempts.contacts(house.store, identity)))
    obstacle.unlink()
    house.succeeded(identity, 150)
    log = "attempt-1/node-1/rank-2.log"
    assert (house.store.runs_dir / identity / log).read_bytes() == (
        node_folder(house, identity, 1) / "rank-2.log"
    ).read_bytes()
