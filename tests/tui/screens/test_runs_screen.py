"""The Runs screen over a real database, driven by keys."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine.spec.loading import parse_spec
from engine.store import bookkeeping, experiments
from engine.telemetry.records import MetricsRecord
from engine.telemetry.states import Desired, State
from tests.tui.world import HOSTILE, SPEC, World, drive, screen_text, shows, until
from tui.app import PlumblineApp
from tui.screens.confirm import ConfirmScreen
from tui.screens.help import HelpScreen
from tui.screens.recipes import RecipesScreen
from tui.screens.runs import RunsScreen
from tui.screens.small import TooSmallScreen
from tui.showcase.opening import IdleIntents
from tui.widgets.status_line import StatusLine


def said(pilot: Pilot[None]) -> str:
    """What the status line says."""
    return pilot.app.screen.query_one(StatusLine).sentence


def test_the_list_tells_what_each_run_does_and_the_pane_tells_all_of_one(world: World) -> None:
    base = world.add("baseline", lr=1e-3, tags=("base",))
    world.begin(base)
    world.train(base, range(1, 43))
    world.checkpoint(base, 40)
    world.end(base, State.FAILED, "rank 1 (node-2) exited with code 1: out of memory")
    world.add("wide", lr=2e-3, parent_id=base)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0001", "sft-0002", "✖ failed", "○ queued", "42/100", "0.0476", "differs from sft-0001")
        await shows(pilot, "train.lr", "0.002", "was 0.001")
        await pilot.press("down")
        await shows(pilot, "rank 1 (node-2) exited", "last metrics", "nats", "42 of 100 (42%)", "checkpoint of step 40")

    drive(world.app(), scenario)


def test_what_others_write_appears_by_itself_and_the_cursor_stays_on_its_run(world: World) -> None:
    first = world.add("first")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0001", "○ queued")
        world.begin(first)
        world.train(first, range(1, 8))
        await shows(pilot, "● running", "7/100")
        world.add("second")
        await shows(pilot, "sft-0002")
        screen = pilot.app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.selected is not None and screen.selected.id == first

    drive(world.app(), scenario)


@pytest.mark.presses("filter")
def test_the_filter_counts_live_and_escape_shows_all_again(world: World) -> None:
    for number in range(30):
        world.add(f"run_{number}", tags=("sweep",) if number % 3 == 0 else ())
    for identity, losses in (("sft-0003", (0.5, 2.0)), ("sft-0006", (3.0, 0.25)), ("sft-0009", (3.0, 2.0))):
        points = [MetricsRecord(1.0 + step, 1, step, {"loss": loss}) for step, loss in enumerate(losses, 1)]
        world.ingest(identity, "metrics.jsonl", points)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0030")
        await pilot.press("slash", *"tag:sw*")
        await shows(pilot, "10 of 30")
        await pilot.press("enter", "down")
        assert "sft-0025" in screen_text(pilot.app.screen) and "sft-0029" not in screen_text(pilot.app.screen)
        await pilot.press("slash", *"best.loss<1")  # the best values are read when they are asked for
        await shows(pilot, "2 of 30", "sft-0003", "sft-0006")
        await pilot.press("enter", "down")
        await pilot.press("slash", *"xyz")
        await shows(pilot, "0 of 30", "No run matches the filter")
        await pilot.press("escape")
        await shows(pilot, "sft-0029", "30 runs")

    drive(world.app(), scenario)


def test_an_empty_or_missing_database_names_the_next_key_and_is_not_made(world: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "No runs yet.", "starts one from a recipe")
        await pilot.press("enter")
        await until(pilot, lambda: "n starts one" in said(pilot))

    drive(world.app(), scenario)
    missing = world.app()
    missing.database = world.store.path.with_name("other.db")
    missing._watcher._path = missing.database
    drive(missing, scenario)
    assert not missing.database.exists()


@pytest.mark.presses("kill", "interrupt")
def test_stopping_asks_first_and_no_is_the_default(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 43))
    world.checkpoint(identity, 30)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "42/100")
        await pilot.press("K")
        await shows(pilot, "Kill sft-0001 (one)?", "12 steps are lost", "$ engine stop sft-0001 --now")
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmScreen))
        assert experiments.get(world.store, identity).desired is Desired.RUN and not world.woken
        await pilot.press("I")
        await shows(pilot, "Stop sft-0001 (one)?", "no step is lost")
        await pilot.press("y")
        await until(pilot, lambda: "is being stopped" in said(pilot))
        assert experiments.get(world.store, identity).desired is Desired.STOP and world.woken
        await shows(pilot, "stopping at the end")
        await pilot.press("I")
        await until(pilot, lambda: "is being stopped already" in said(pilot))
        await pilot.press("K")
        await shows(pilot, "Kill sft-0001 (one)?")
        await pilot.press("y")
        await until(pilot, lambda: experiments.get(world.store, identity).desired is Desired.STOP_NOW)

    drive(world.app(), scenario)


@pytest.mark.presses("archive", "archived", "resume")
def test_resume_and_archive(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 20))
    world.end(identity, State.STOPPED)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "■ stopped")
        await pilot.press("a")
        await shows(pilot, "No runs yet.")
        await pilot.press("A")
        await shows(pilot, "sft-0001", "archived")
        await pilot.press("a")
        await until(pilot, lambda: experiments.get(world.store, identity).archived_at is None)
        await pilot.press("R")
        await shows(pilot, "Resume sft-0001 (one)?", "from the beginning: it has no checkpoint")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        assert experiments.get(world.store, identity).state is State.STOPPED, "No is the default"
        await pilot.press("R")
        await shows(pilot, "Resume sft-0001 (one)?")
        await pilot.press("y")
        await until(pilot, lambda: experiments.get(world.store, identity).state is State.QUEUED)
        await until(pilot, lambda: bool(world.woken))

    drive(world.app(), scenario)


def test_read_only_changes_nothing(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "● running")
        for key in ("I", "K", "n", "a"):
            await pilot.press(key)
            await until(pilot, lambda: "Read-only" in said(pilot))
            assert isinstance(pilot.app.screen, RunsScreen)

    drive(world.app(readonly=True), scenario)
    assert experiments.get(world.store, identity).desired is Desired.RUN


@pytest.mark.presses("help")
def test_help_lists_every_key_of_the_screen(world: World) -> None:
    from tui.actions.table import of_scope

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await shows(
            pilot, *(entry.text for entry in of_scope("runs", "run", "everywhere")), "asks first", "next run", "↓ j"
        )
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario, (120, 70))


@pytest.mark.presses("palette")
def test_the_palette_teaches_the_command_line_and_acts(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    folder = world.store.path.parent

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "● running")
        await pilot.press("colon")
        await shows(pilot, "engine stop sft-0001 --now", "engine show sft-0001", "(K)")
        await pilot.press(*"checkpoint", "down", "up", "enter")
        await shows(pilot, "sft-0001 (one)?")

    assert folder.name
    drive(world.app(), scenario, (120, 44))


def test_hostile_text_is_shown_and_not_obeyed(world: World) -> None:
    identity = world.add(HOSTILE, tags=(HOSTILE,))
    world.begin(identity)
    world.end(identity, State.FAILED, HOSTILE)
    bookkeeping.set_note(world.store, identity, HOSTILE)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "[red]gone[/red]", "‹202E›", "‹07›")
        await pilot.press("R")
        await shows(pilot, "Resume sft-0001")
        shown = screen_text(pilot.app.screen)
        assert all(line.isprintable() for line in shown.splitlines()), repr(shown)
        await pilot.press("escape")

    drive(world.app(), scenario)


@pytest.mark.presses("pane")
def test_a_narrow_terminal_shows_one_pane_at_a_time_and_a_tiny_one_a_sentence(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 5))

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0001", "4/100", "0.5")
        assert "last metrics" not in screen_text(pilot.app.screen)
        await pilot.press("tab")
        await shows(pilot, "last metrics", "4 of 100 (4%)")
        assert "4/100" not in screen_text(pilot.app.screen)
        await pilot.press("tab")
        await shows(pilot, "4/100")
        await pilot.resize_terminal(59, 24)
        await shows(pilot, "plumbline needs 60 columns and 15 lines")
        await pilot.resize_terminal(80, 14)
        assert isinstance(pilot.app.screen, TooSmallScreen)
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "4/100")

    drive(world.app(), scenario, (80, 24))


def test_generated_experiments_are_waited_for(world: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "Experiments are generated")
        assert "No runs yet" not in screen_text(pilot.app.screen)

    drive(PlumblineApp(world.store.path, intents=IdleIntents(world.store.path)), scenario, (80, 24))


def test_thousands_of_runs_are_read_to_the_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse_spec(SPEC.format(name="x", steps=100, lr=1e-3))
    columns = experiments._columns_of(spec)  # worked out once: printing a spec takes its time
    monkeypatch.setattr(experiments, "_columns_of", lambda spec: columns)
    with world.store.write() as connection:
        for number in range(600):
            experiments.add(connection, spec, name=f"run_{number}")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "600 runs", "sft-0600")
        await pilot.press("G")
        await shows(pilot, "sft-0001")
        await pilot.press("pageup", "g")
        await shows(pilot, "sft-0600")

    drive(world.app(), scenario)


@pytest.mark.presses("open", "back")
def test_enter_opens_the_run_and_escape_returns(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 30))

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "29/100")
        await pilot.press("enter")
        await shows(pilot, "sft-0001", "loss", "step 29/100")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario)


def test_the_app_opens_on_an_experiment_by_name_and_refuses_an_unknown_one(world: World) -> None:
    world.begin(world.add("one"))

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "sft-0001", "one", "● running", "step")

    drive(world.app(experiment="one"), scenario)

    async def refusal(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.return_code is not None)

    app = world.app(experiment="nothing-like-it")
    drive(app, refusal)
    assert app.return_code == 3


@pytest.mark.presses("quit")
def test_quitting_says_what_goes_on(world: World) -> None:
    world.begin(world.add("one"))
    world.add("two")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0002")
        await pilot.press("q")
        await until(pilot, lambda: pilot.app.return_code is not None)
        assert "2 runs go on" in str(pilot.app._exit_renderables)

    drive(world.app(), scenario)


@pytest.mark.presses("new", "leave-recipes")
def test_the_recipes_are_not_reached_without_a_key(world: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecipesScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario)
