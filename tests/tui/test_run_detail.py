"""What the pane beside the list knows of one run."""

from __future__ import annotations

from engine.spec.loading import parse_spec
from engine.store import experiments
from tests.tui.world import SPEC, World
from tui.run_detail import DetailReader


def test_each_run_shows_its_own_differences_though_their_specs_compute_the_same(world: World) -> None:
    text = SPEC.format(name="x", steps=10, lr=1e-3)
    base = experiments.create(world.store, parse_spec(text))
    wanted = {}
    for nodes in (1, 2):
        spec = parse_spec(text, overrides=(f"placement.nodes={nodes}",))
        wanted[experiments.create(world.store, spec, parent_id=base)] = {"placement.nodes": (None, nodes)}
    reader = DetailReader(world.store)
    assert {identity: dict(reader.read(identity).differences) for identity in wanted} == wanted
