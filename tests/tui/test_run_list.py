"""How the list of runs is arranged."""

from __future__ import annotations

import pytest

from engine.errors import InvalidInput
from engine.store import bookkeeping, experiments
from engine.store.spec_values import spec_values
from engine.telemetry.states import State
from tests.tui.world import HOSTILE, World
from tui.marks import Marks
from tui.run_list import GROUPS, Heading, View, arranged, keys_to_group_by
from tui.widgets.run_signs import heading_cells, signs_of


def lines(world: World, view: View, folded: tuple[str, ...] = ()) -> list[str]:
    """The lines as text: names, and titles with the number of runs."""
    found = experiments.list_experiments(world.store)
    specs = spec_values(world.store, [one.id for one in found])
    return [
        f"[{line.title} {line.count}]" if isinstance(line, Heading) else line.name
        for line in arranged(found, view, specs, folded, 0.0)
    ]


@pytest.fixture
def five(world: World) -> World:
    for number in (1, 2):
        tags = ("pipeline:facts", f"pipeline:facts/{number}", "stage:one", "hh")
        world.begin(world.add(f"sft{number}", tags=tags, lr=1e-3 * number))
    world.add_ppo("ppo1")
    world.add("cloned", parent_id="sft-0001", tags=("sweep",))
    world.end("sft-0002", State.FAILED)
    bookkeeping.pin(world.store, "sft-0001")
    return world


def test_groups_stand_in_the_order_of_their_first_runs_and_what_has_none_comes_last(five: World) -> None:
    assert lines(five, View()) == ["sft1", "cloned", "ppo1", "sft2"]
    assert lines(five, View(group="kind")) == ["[sft 3]", "sft1", "cloned", "sft2", "[ppo 1]", "ppo1"]
    assert lines(five, View(group="pipeline"), ("pipeline:no pipeline",)) == [
        "[facts/1 1]",
        "sft1",
        "[facts/2 1]",
        "sft2",
        "[no pipeline 2]",
    ]
    assert lines(five, View(group="data"))[::4] == ["[facts.jsonl 3]", "[prompts.jsonl 1]"]
    assert lines(five, View(group="tag"))[-2:] == ["[no tag 1]", "ppo1"]
    assert lines(five, View(group="state", sort="name"))[0] == "[running 1]"
    assert {line for line in lines(five, View(group="parent")) if "[" in line} == {"[sft-0001 1]", "[no parent 3]"}


def test_the_order_may_be_that_of_a_metric_or_a_key_of_the_spec(five: World) -> None:
    five.train("sft-0001", range(1, 3))
    assert lines(five, View(sort="-spec.train.lr"))[:3] == ["sft1", "sft2", "cloned"]
    assert lines(five, View(sort="last.loss"))[0] == "sft1"
    with pytest.raises(InvalidInput, match=r"cannot sort by last\.nonsense"):
        lines(five, View(sort="last.nonsense"))


def test_a_heading_counts_states_and_shows_hostile_titles_as_text(five: World) -> None:
    bookkeeping.change_tags(five.store, "sft-0001", add=[HOSTILE], remove=["hh"])
    found = arranged(experiments.list_experiments(five.store), View(group="tag"), {}, (), 0.0)
    heading = found[0]
    assert isinstance(heading, Heading) and heading.states == ((State.RUNNING, 1),)
    text = "".join(cell.text for cell in heading_cells(heading))
    assert text.isprintable() and "[red]gone[/red]" in text and text.endswith("1 run   ● 1")


def test_groups_within_groups_are_counted_and_folded_each_for_itself(five: World) -> None:
    view = View(group="kind", then="data")
    assert lines(five, view) == [
        "[sft 3]",
        "[facts.jsonl 3]",
        "sft1",
        "cloned",
        "sft2",
        "[ppo 1]",
        "[prompts.jsonl 1]",
        "ppo1",
    ]
    inner = "kind:sft\ndata:facts.jsonl"
    assert lines(five, view, (inner,)) == ["[sft 3]", "[facts.jsonl 3]", "[ppo 1]", "[prompts.jsonl 1]", "ppo1"]
    assert lines(five, view, ("kind:sft", "data:facts.jsonl"))[:2] == ["[sft 3]", "[ppo 1]"]
    assert lines(five, View(group="kind", then="kind")) == lines(five, View(group="kind"))
    assert lines(five, View(group="spec.train.lr", then="state"))[0].startswith("[train.lr ")
    specs = spec_values(five.store, [one.id for one in experiments.list_experiments(five.store)])
    assert View(group="kind", then="data").needs_specs and "data.train" in keys_to_group_by(specs)
    levels = [
        one.level
        for one in arranged(experiments.list_experiments(five.store), view, specs, (), 0.0)
        if isinstance(one, Heading)
    ]
    assert levels == [0, 1, 0, 1]


def test_a_view_survives_the_database_and_a_later_version(five: World) -> None:
    view = View("kind:ppo", "-last.kl", "kind", ("id", "last.kl"), "mine")
    assert View.read("mine", view.document()) == view
    nested = View(group="kind", then="spec.train.lr", name="n")
    assert View.read("n", nested.document()) == nested
    assert View.read("old", {"group": "kind"}) == View(group="kind", name="old")
    assert View.read("x", {"group": "of a later version", "colour": 1}) == View(name="x")
    assert view.changed(sort="-last.kl") is view
    assert view.changed(sort="name").name == ""
    assert set(GROUPS) >= {"none", "kind", "pipeline", "data"}


def test_signs_tell_the_baseline_marks_and_pins(five: World) -> None:
    marks = Marks()
    found = experiments.list_experiments(five.store)
    marks.set_baseline("sft-0002")
    marks.mark(["sft-0003", "ppo-0001"])
    signs = {identity: cell.text for identity, cell in signs_of(found, marks).items()}
    assert signs == {"sft-0002": "◉A", "sft-0003": "◆B", "ppo-0001": "◆C", "sft-0001": "▲"}
