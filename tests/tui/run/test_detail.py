"""What the pane beside the list knows of one run."""

from __future__ import annotations

from engine.spec.loading import parse_spec
from engine.store import experiments
from engine.store.inputs import Input
from engine.telemetry.health_observed import Verdict
from engine.telemetry.records import Level
from tests.tui.world import SPEC, World
from tui.run.detail import DetailReader, detail_text


def test_each_run_shows_its_own_differences_though_their_specs_compute_the_same(world: World) -> None:
    text = SPEC.format(name="x", steps=10, lr=1e-3)
    base = experiments.create(world.store, parse_spec(text))
    wanted = {}
    for nodes in (1, 2):
        spec = parse_spec(text, overrides=(f"placement.nodes={nodes}",))
        wanted[experiments.create(world.store, spec, parent_id=base)] = {"placement.nodes": (None, nodes)}
    reader = DetailReader(world.store)
    assert {identity: dict(reader.read(identity).differences) for identity in wanted} == wanted


def test_where_a_run_comes_from_and_who_takes_from_it_are_told(world: World) -> None:
    parent = world.add("facts-sft")
    taken = Input("${facts-sft.model}", "/runs/export", parent, "model", "1a2b" * 16, 600)
    spec = parse_spec(SPEC.format(name="x", steps=10, lr=1e-3))
    child = experiments.create(world.store, spec, name="child", inputs=[taken])
    reader = DetailReader(world.store)
    told = {identity: detail_text(reader.read(identity), 0.0, 60).plain for identity in (parent, child)}
    assert "from      facts-sft (sft-0001, step 600)" in told[child] and "used by" not in told[child]
    assert f"used by   {child}" in told[parent] and "from" not in told[parent]


def test_of_many_metrics_the_telling_ones_are_shown_and_no_line_is_longer_than_the_pane(world: World) -> None:
    identity = world.add_ppo("one")
    world.begin(identity)
    groups = {f"{verdict}/{name}": 0.5 for verdict in ("correct", "hallucinated") for name in ("a" * 30, "b", "c", "d")}
    own = {"score": -0.0434, "kl": 3.0, "hallucinated": 0.25, "entropy": 1.0, "grad_norm": 1.0, "ratio": 1.0}
    world.train(identity, [1], **own, **groups, **{f"reward/{name}": 1.0 for name in "efgh"})
    text = detail_text(DetailReader(world.store).read(identity), 0.0, 200).plain
    metrics = text.partition("last metrics\n")[2].split("\n\n")[0].splitlines()
    assert [line.split()[:2] for line in metrics[:3]] == [["score", "-0.0434"], ["kl", "3"], ["hallucinated", "0.25"]]
    assert metrics[-1] == "and 4 more in its charts"
    assert {len(line) for line in metrics[:3]} == {25, 30}


def test_verdicts_are_words_the_worst_first_and_a_baseline_takes_the_parents_place(world: World) -> None:
    parent = world.add("parent", lr=1e-3)
    child = world.add("child", lr=2e-3, parent_id=parent)
    other = world.add("other", lr=3e-3, parent_id=parent)
    world.begin(child)
    reader = DetailReader(world.store)
    wrong = [Verdict(str(number), Level.WARNING, f"sentence {number}.", None, "") for number in range(5)]
    text = detail_text(reader.read(child, other), 0.0, 60, wrong).plain
    assert "⚠ sentence 0.\n⚠ sentence 1.\n⚠ sentence 2.\nand 2 more" in text.replace("  and", "and")
    assert "differs from sft-0003 (baseline)" in text and "0.002  was 0.003" in text
    assert "✔ nothing is wrong" in detail_text(reader.read(child), 0.0, 60, []).plain
    assert "differs from sft-0001\n" in detail_text(reader.read(child, child), 0.0, 60).plain
    assert "wrong" not in detail_text(reader.read(other), 0.0, 60, []).plain  # it does not run
