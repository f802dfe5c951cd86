"""The Compare screen over a real database, driven by keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.report.comparing.building import build
from engine.report.comparing.page import to_html
from engine.store import bookkeeping, votes
from tests.report.world import fill
from tests.tui.screens.compare_screen import PROMPT, compare, driven, said, samples
from tests.tui.world import HOSTILE, World, drive, screen_text, shows, until
from tui.app import PlumblineApp
from tui.screens.compare import CompareScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.widgets.chart import Chart
from tui.widgets.status_line import StatusLine


@pytest.mark.presses("go-compare", "compare-enter", "compare-spec", "compare-back")
def test_without_marks_the_keys_that_mark_are_named_and_the_parent_is_offered(world: World) -> None:
    parent = world.add("parent")
    child = world.add("child", lr=2e-3, parent_id=parent)

    async def scenario(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, PlumblineApp)
        await until(pilot, lambda: getattr(app.get_default_screen(), "selected", None) is not None)
        await pilot.press("3")
        await shows(
            pilot, "Fewer than two runs are marked", "space", "baseline", f"compares {child} with its parent {parent}"
        )
        await shows(pilot, "⏎ compare")
        await pilot.press("enter", "d")
        await shows(pilot, "train.lr", "0.001", "0.002", "1 of ")
        assert "⏎ compare" not in screen_text(app.screen)
        assert app.marks.baseline == parent and app.marks.letter(child) == "B"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))

    drive(world.app(), scenario)


@pytest.mark.presses(
    "compare-inspect",
    "compare-left",
    "compare-right",
    "compare-x",
    "compare-smoother",
    "compare-rougher",
    "compare-y",
    "compare-zoom-in",
    "compare-zoom-out",
    "compare-zero",
    "compare-enter",
    "compare-back",
    "compare-reward-KL",
)
def test_curves_lie_over_each_other_and_the_crosshair_tells_exact_values_of_all(
    world: World, pair: tuple[str, str]
) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "A ● ppo-0001", "B ◆ ppo-0002", "score  ●A 1  ◆B 2", "kl  ●A 4  ◆B 8", "baseline")
        await pilot.press("i", "left")
        await shows(pilot, "crosshair at step 39", "0.975  step 39", "1.975  step 39")
        await pilot.press("right")
        await shows(pilot, "crosshair at step 40")
        await pilot.press("full_stop")
        await shows(pilot, "smoothing 0.8")
        await pilot.press("comma")
        await shows(pilot, "smoothing 0.6")
        await pilot.press("x")
        await until(pilot, lambda: said(pilot).startswith("x axis: "))
        await pilot.press("v")
        await until(pilot, lambda: said(pilot).startswith("y axis of ") and said(pilot).endswith(": log"))
        charts = compare(pilot.app).charts
        await pilot.press("plus", "plus")
        narrow = charts.view.window
        await pilot.press("minus")
        assert narrow is not None and charts.view.window is not None and charts.view.window[0] < narrow[0]
        await pilot.press("0")
        assert charts.view.window is None
        await pilot.press("enter")
        await until(pilot, lambda: sum(chart.display for chart in pilot.app.screen.query(Chart)) <= 2)
        await pilot.press("escape", "p")
        await shows(pilot, "score against KL", "●A 1 at 4", "◆B 2 at 8", "nats/sequence", "2  KL 8")
        await pilot.press("left", "left")
        await shows(pilot, "marks at step 38", "1.95  KL 7.6")
        await pilot.press("w")
        await until(pilot, lambda: "s goes there" in said(pilot))

    driven(world, pair, scenario)


@pytest.mark.presses("compare-spec", "compare-all", "compare-metrics", "compare-pane", "compare-baseline")
def test_specs_and_metrics_are_held_against_the_baseline(world: World, pair: tuple[str, str]) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("d")
        await shows(pilot, "ppo.kl_target", "3", "6", "keys differ", "A ppo-0001  3", "B ppo-0002  6")
        shown = screen_text(pilot.app.screen)
        assert "train.lr" not in shown
        await pilot.press("equals_sign")
        await shows(pilot, "seed", "model.path")
        await pilot.press("m")
        await shows(pilot, "score", "+1", "+100%", "▲ better", "kl", "worse than A")
        await pilot.press("tab", "b")
        await until(pilot, lambda: "ppo-0002 is the baseline" in said(pilot))
        await shows(pilot, "A ● ppo-0002", "▼ worse")

    driven(world, pair, scenario)


@pytest.mark.presses(
    "compare-samples",
    "compare-left",
    "compare-left-before",
    "compare-left-after",
    "compare-words",
    "compare-regressions",
    "compare-other",
)
def test_samples_stand_side_by_side_with_what_no_passage_supports(world: World, pair: tuple[str, str]) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await shows(
            pilot, "prompt 1 of 2", "The bridge opened in 1937.", "A ● ppo-0001 step 40 (2 of 2)", "reference: in 1937"
        )
        await until(pilot, lambda: samples(pilot).pairs.has_focus)  # also where the tab came before what was read
        await pilot.press("down")
        await shows(pilot, "prompt 2 of 2", "{He sang.}", "1 unsupported")
        await pilot.press("left")
        await shows(pilot, "B ◆ ppo-0002 step 20 (1 of 2)", "prompt 2 of 2")
        await pilot.press("left")
        await until(pilot, lambda: "first checkpoint" in said(pilot))
        await pilot.press("shift+left")
        await shows(pilot, "A ● ppo-0001 step 20 (1 of 2)")
        await pilot.press("shift+right")
        await shows(pilot, "A ● ppo-0001 step 40 (2 of 2)")
        marking = samples(pilot).browser.words
        await pilot.press("w")
        await until(pilot, lambda: samples(pilot).browser.words is not marking)
        await pilot.press("f")
        await shows(pilot, "None of 2 answers is worse")
        await until(pilot, lambda: samples(pilot).has_focus)
        await pilot.press("escape")
        await until(pilot, lambda: samples(pilot).pairs.has_focus)
        await pilot.press("J")
        await shows(pilot, "ppo-0001 step 20 (1 of 2)", "ppo-0001 step 40 (2 of 2)")

    driven(world, pair, scenario)


@pytest.mark.presses("compare-blind", "vote-left", "vote-right", "compare-zero")
def test_votes_are_blind_kept_and_counted_and_a_later_one_takes_the_place_of_the_first(
    world: World, pair: tuple[str, str]
) -> None:
    one, other = (pair[0], 40), (pair[1], 40)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await shows(pilot, "prompt 1 of 2", "no votes yet")
        await pilot.press("h")
        await shows(pilot, "left: hidden", "right: hidden")
        shown = screen_text(pilot.app.screen)
        assert "step 40" not in shown and "exact" not in shown and "reference: in 1937" in shown
        seen = samples(pilot).browser.seen
        assert seen is not None
        liked = (pair[seen[0][0][0]], seen[0][0][1])
        await pilot.press("A", "0")
        await until(pilot, lambda: votes.tally(world.store, one, other).votes == 2)
        assert votes.votes(world.store, one, other)[votes.digest(PROMPT)] == liked
        assert votes.tally(world.store, one, other).blind == 2
        await pilot.press("h", "up", "B")
        await until(pilot, lambda: votes.votes(world.store, one, other)[votes.digest(PROMPT)] == other)
        await shows(pilot, "A 0 · tie 1 · B 1 (1 blind)", "Your vote is kept: B ppo-0002 step 40")

    driven(world, pair, scenario)


def test_read_only_keeps_no_vote(world: World, pair: tuple[str, str]) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await shows(pilot, "prompt 1 of 2")
        for key in ("A", "B", "0"):
            pilot.app.screen.query_one(StatusLine).silence()
            await pilot.press(key)
            await until(pilot, lambda: "Read-only" in said(pilot))

    driven(world, pair, scenario, readonly=True)
    assert votes.tally(world.store, (pair[0], 40), (pair[1], 40)).votes == 0


@pytest.mark.presses("compare-export", "compare-curves", "compare-answers")
def test_what_a_tab_shows_is_written_into_the_working_folder(world: World, pair: tuple[str, str]) -> None:
    folder = world.store.path.parent

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "score  ●A 1")
        for tab, key in (("c", "c"), ("c", "s"), ("d", "m"), ("s", "j"), ("d", "h")):
            pilot.app.screen.query_one(StatusLine).silence()
            await pilot.press(tab)
            if tab == "s":
                await shows(pilot, "prompt 1 of 2")
            await pilot.press("e")
            await shows(pilot, "export")
            await pilot.press(key)
            await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen) and "Wrote" in said(pilot), 90)
            if tab == "s":
                pilot.app.screen.query_one(StatusLine).silence()
                await pilot.press("h", "e", "h")
                await shows(pilot, "Who wrote what is hidden")
                await pilot.press("escape", "h")
        await pilot.press("a")
        await shows(pilot, "None of these runs is an evaluation")

    driven(world, pair, scenario)
    stem = "-".join(pair)
    read = {path.name: path.read_text() for path in folder.iterdir() if path.name.startswith(stem)}
    assert set(read) == {
        *(f"{stem}-curves.csv", f"{stem}-curves.svg", f"{stem}-spec.md", f"{stem}-samples.json", f"{stem}.html"),
    }
    assert len(read[f"{stem}-curves.csv"].splitlines()) == 81 and "<svg" in read[f"{stem}-curves.svg"]
    assert len(json.loads(read[f"{stem}-samples.json"])["pairs"]) == 2
    assert read[f"{stem}.html"] == to_html(build(world.store, pair))


@pytest.mark.presses("compare-pane", "compare-enter", "compare-unmark")
def test_runs_follow_and_leave_and_open(world: World, pair: tuple[str, str]) -> None:
    third = world.add_ppo("third")
    world.begin(third)
    world.train(third, range(1, 11), score=0.5)

    async def scenario(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, PlumblineApp)
        await shows(pilot, "C ▲ ppo-0003", "● running", "▲C 0.5")
        world.train(third, range(11, 12), score=0.75)
        await shows(pilot, "▲C 0.75")
        await pilot.press("tab", "down", "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("3")
        await shows(pilot, "C ▲ ppo-0003")
        await pilot.press("space")
        await until(pilot, lambda: "ppo-0003" not in screen_text(app.screen))
        bookkeeping.archive(world.store, pair[0])
        bookkeeping.delete(world.store, pair[0])
        await shows(pilot, "Fewer than two runs")

    driven(world, (*pair, third), scenario)


def test_evaluations_begin_with_their_answers_and_what_changed(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    filled = fill(tmp_path_factory.mktemp("filled"), 20, ("sft", "ppo", "ppo+retrieval"))
    app = PlumblineApp(Path(filled.store.path))
    ids = [filled.ids[f"facts-eval-{name}"] for name in ("sft", "ppo", "ppo-retrieval")]

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.store_is_open)
        app.marks.mark(ids)
        await pilot.press("3")
        await shows(pilot, "outcomes: 20 questions", "A eval-0001", "hallucinated", "from A eval-0001 to B eval-0002")
        await shows(pilot, "McNemar", "now abstained", "was hallucinated")
        await pilot.press("J")
        await shows(pilot, "from A eval-0001 to C eval-0003")
        await pilot.press("s")
        await shows(pilot, "prompt 1 of 20", "A ● eval-0001 step 20", "C ▲ eval-0003", "correct")
        await pilot.press("f")
        await until(pilot, lambda: samples(pilot).browser.regressions)
        assert all(one.is_regression for one in samples(pilot).browser.shown)

    drive(app, scenario)
    filled.store.close()


def test_hostile_text_is_shown_and_not_obeyed(world: World) -> None:
    ids = world.add(HOSTILE), world.add("other")
    for identity in ids:
        world.begin(identity)
        world.train(identity, range(1, 5))
        world.sample(identity, 4, f"{HOSTILE}\n{HOSTILE}?", HOSTILE, HOSTILE)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "[red]gone[/red]")
        for tab in ("d", "m", "s"):
            await pilot.press(tab)
            await pilot.pause(0.1)
            shown = screen_text(pilot.app.screen)
            assert all(line.isprintable() for line in shown.splitlines()), repr(shown)
        await shows(pilot, "‹202E›", "prompt 1 of 1")

    driven(world, ids, scenario)
