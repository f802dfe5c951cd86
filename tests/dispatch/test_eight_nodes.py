"""Real DeepSpeed on eight nodes: many nodes train what one does, and several runs share the cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.hostfile import parse_hostfile
from engine.cluster.snapshot import take_snapshot
from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.inputs import resolve_references
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, series
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.telemetry.states import State

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SFT = """
kind: sft
name: {name}
model:
  architecture: {{hidden_size: 32, layers: 2, heads: 2, intermediate_size: 48, max_positions: 64}}
  tokenizer: {{kind: word}}
data: {{train: {data}/train.jsonl, max_length: 64}}
train: {{steps: {steps}, batch_size: 16, lr: 1e-2, precision: fp32, zero_stage: 2, sample_prompts: 0}}
placement: {{nodes: {nodes}, slots: 1, threads: 1}}
"""
PPO = """
kind: ppo
name: reinforced
model: {{path: "${{one.model}}"}}
rewards: {{exact: {{kind: exact_match}}}}
data: {{train: {data}/prompts.jsonl, max_prompt_length: 16, max_response_length: 4}}
rollout: {{prompts: 16, samples_per_prompt: 2, batch_size: 32}}
train: {{steps: 6, batch_size: 32, lr: 1e-4, precision: fp32, zero_stage: 2, sample_prompts: 0}}
placement: {{nodes: 4, slots: 1, threads: 1}}
"""


class Lab:
    """Eight nodes, a database and its dispatcher."""

    def __init__(self, testbed: Testbed, folder: Path) -> None:
        self.store = Store.open(folder / "experiments.db")
        self.hosts = testbed.hostfile.read_text(encoding="utf-8")
        self._folder = folder

    def launch(self, text: str, **values: object) -> str:
        spec = parse_spec(text.format(data=self._folder, **values))
        spec, inputs = resolve_references(self.store, spec, parse_hostfile(self.hosts, "hostfile"))
        code = take_snapshot(self.store.objects_dir).sha256
        identity = experiments.create(self.store, spec, hostfile_text=self.hosts, inputs=inputs, code=code)
        lifecycle.ensure_running(self.store.path)
        return identity

    def get(self, identity: str) -> Experiment:
        return experiments.get(self.store, identity)

    def succeeded(self, *ids: str) -> None:
        give_up = time.monotonic() + 900
        while not all(self.get(identity).state.ended for identity in ids):
            assert time.monotonic() < give_up, lifecycle.log_path(self.store.path).read_text()
            time.sleep(0.2)
        for identity in ids:
            found = self.get(identity)
            assert found.state is State.SUCCEEDED, (found.state, found.reason)

    def hosts_of(self, identity: str) -> set[str]:
        return {seat["host"] for seat in attempts.list_attempts(self.store, identity)[-1].placement}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    rows = [{"prompt": f"where is x{n % 7} ?", "response": f"in y{n % 7} ."} for n in range(64)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = [{"prompt": row["prompt"], "answers": [row["response"]], "abstention": "unknown"} for row in rows]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    with Testbed.start(folder / "testbed", nodes=8, slots=1, workdir=folder / "work") as testbed:
        found = Lab(testbed, folder)
        yield found
        lifecycle.stop(found.store.path)
        found.store.close()


def test_eight_ranks_on_eight_nodes_learn_what_one_does_with_the_same_batch(lab: Lab) -> None:
    one = lab.launch(SFT, name="one", nodes=1, steps=20)
    lab.succeeded(one)
    eight = lab.launch(SFT, name="eight", nodes=8, steps=20)
    lab.succeeded(eight)
    assert len(lab.hosts_of(eight)) == 8
    expected, found = (series.read(lab.store, identity, "loss") for identity in (one, eight))
    assert list(found.step) == list(expected.step) == list(range(1, 21))
    assert list(found.value) == pytest.approx(list(expected.value), rel=1e-4)
    assert found.value[-1] < 0.7 * found.value[0], "it learns"


def test_reinforcement_on_four_nodes_and_fine_tuning_on_the_others_run_at_the_same_time(lab: Lab) -> None:
    if not experiments.list_experiments(lab.store):
        lab.succeeded(lab.launch(SFT, name="one", nodes=1, steps=20))
    ppo = lab.launch(PPO)
    sft = lab.launch(SFT, name="beside", nodes=4, steps=60)
    lab.succeeded(ppo, sft)
    assert not lab.hosts_of(ppo) & lab.hosts_of(sft)
    began, ended = zip(*((one.started_at, one.ended_at) for one in map(lab.get, (ppo, sft))), strict=True)
    assert max(began) < min(ended), "they overlap"
    assert list(series.read(lab.store, ppo, "score").step) == list(range(1, 7))


def test_nodes_with_disks_of_their_own_train_together_and_are_sent_what_they_lack(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reason = Testbed.can_isolate()
    if reason is not None:
        pytest.skip(f"nodes cannot have disks of their own here: {reason}")
    folder = tmp_path_factory.mktemp("apart")
    with Testbed.start(
        folder / "testbed", nodes=2, slots=1, workdir=folder / "work", isolated=True, disk_mb=2048
    ) as testbed:
        hosts, lab.hosts = lab.hosts, testbed.hostfile.read_text(encoding="utf-8")
        try:
            identity = lab.launch(SFT, name="apart", nodes=2, steps=12)
            lab.succeeded(identity)
        finally:
            lab.hosts = hosts
        run = attempts.list_attempts(lab.store, identity)[-1].run_dir.rpartition("/")[2]
        parts = [sorted((testbed.disk(node) / run / "checkpoints").glob("step-*/COMPLETE")) for node in (1, 2)]
        assert all(parts), "each node has its part of the checkpoint"
        assert (testbed.disk(1) / run / "export/config.json").exists()
        assert not (testbed.disk(2) / run / "export").exists()
    assert list(series.read(lab.store, identity, "loss").step) == list(range(1, 13))
