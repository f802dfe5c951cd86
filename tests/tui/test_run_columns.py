"""The columns of the run list."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.store import experiments
from engine.store.experiment import Experiment
from tests.tui.world import HOSTILE, World
from tui.text.cells import align
from tui.widgets.run_columns import COLUMNS, GAP, columns_of, fit, row, sort_of, titled


@pytest.fixture
def experiment(world: World) -> Experiment:
    identity = world.add("one", tags=("a", "b"))
    world.begin(identity)
    world.train(identity, range(1, 43))
    return experiments.get(world.store, identity)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(width=st.integers(8, 250), name=st.text(min_size=1, max_size=60))
def test_columns_fill_no_more_than_the_width(experiment: Experiment, width: int, name: str) -> None:
    rows = [row(dataclasses.replace(experiment, name=name), time.time())]
    columns = fit(width, rows)
    assert sum(size + GAP for _, size in columns) - GAP <= max(width, 8)
    chosen = [column.key for column, _ in columns]
    assert [column.key for column in COLUMNS if column.key in chosen] == chosen
    for column, size in columns:
        assert cell_len(align(rows[0][column.key].text, size, right=column.right)) == size


def test_narrow_lists_keep_what_matters_most(experiment: Experiment) -> None:
    rows = [row(experiment, time.time())]
    kept = {width: [column.key for column, _ in fit(width, rows)] for width in (8, 40, 76, 200)}
    assert kept[8] == ["id"]
    assert {"id", "name", "state", "step"} <= set(kept[40]) | {"step"}
    assert {"id", "name", "state", "step", "headline", "curve", "age", "progress"} == set(kept[76])
    assert kept[200] == [column.key for column in COLUMNS]


def test_a_row_tells_state_in_a_word_progress_and_a_bad_loss(experiment: Experiment) -> None:
    cells = row(experiment, time.time())
    assert cells["state"].text == "● running"
    assert (cells["step"].text, cells["progress"].text) == ("42/100", "42%")
    assert (cells["headline"].text, cells["speed"].text) == ("0.0476", "12k")
    bad = row(dataclasses.replace(experiment, last={"loss": math.nan}), time.time())["headline"]
    assert (bad.text, bad.ink) == ("nan", "bad")


def test_hostile_names_and_tags_are_shown_and_not_obeyed(experiment: Experiment) -> None:
    cells = row(dataclasses.replace(experiment, name=HOSTILE, tags=(HOSTILE,)), time.time())
    for text in (cells["name"].text, cells["tags"].text):
        assert text.isprintable()
        assert "[red]gone[/red]" in text


def test_the_headline_has_the_name_of_its_metric_where_all_runs_have_the_same(
    experiment: Experiment,
) -> None:
    ppo = dataclasses.replace(experiment, kind="ppo", last={"score": -0.0434, "loss": 9.0})
    rows = {
        kind: row(dataclasses.replace(one, kind=kind), time.time()) for kind, one in (("sft", experiment), ("ppo", ppo))
    }

    def title(*kinds: str) -> str:
        columns = fit(200, [rows[kind] for kind in kinds])
        return next(column.title for column, _ in columns if column.key == "headline")

    assert (title("sft"), title("ppo"), title("sft", "ppo"), title()) == ("loss", "score", "latest", "latest")
    assert rows["ppo"]["headline"].text == "-0.0434"


def test_chosen_columns_keep_their_order_and_the_last_ones_go_first(experiment: Experiment) -> None:
    keys = ("id", "last.entropy", "spec.train.lr", "took", "note", "last.loss")
    measured = dataclasses.replace(experiment, last={"loss": 0.5, "entropy": math.inf}, note="a\nnote")
    cells = row(measured, time.time(), keys, {"train.lr": 5e-7})
    assert [cells[key].text for key in keys[1:3]] == ["inf", "5e-7"] and cells["note"].text == "a note"
    assert cells["last.entropy"].ink == "bad"
    columns = columns_of(keys)
    assert [column.title for column, _ in fit(200, [cells], columns)] == ["id", "entropy", "lr", "took", "note", "loss"]
    assert [column.key for column, _ in fit(30, [cells], columns)] == list(keys[:3])
    assert columns_of(()) is COLUMNS


def test_names_that_can_be_read_are_worth_more_than_minor_columns(experiment: Experiment) -> None:
    named = [row(dataclasses.replace(experiment, name="hh-faithful-kl-6-b"), time.time())]
    sizes = {column.key: size for column, size in fit(90, named)}
    assert sizes["name"] == 18 and "bar" not in sizes and "curve" in sizes


def test_a_click_on_a_title_sorts_where_there_is_something_to_sort_by() -> None:
    assert [sort_of(key) for key in ("progress", "age", "last.kl", "curve", "tags")] == [
        "done",
        "heard",
        "last.kl",
        None,
        None,
    ]
    column = next(column for column in COLUMNS if column.key == "step")
    assert (titled(column, 9, "-step"), titled(column, 9, "step")) == ("    step↓", "    step↑")
    assert titled(column, 4, "-step") == "step"
