"""The table of actions: complete, without clashes, and true to the command line."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from engine.cli.__main__ import COMMANDS
from tests.tui.pressing import claimed
from tests.tui.world import World
from tui.actions import table
from tui.actions.action import Action, Context
from tui.actions.table import ACTIONS
from tui.app import PlumblineApp
from tui.screens.cluster import ClusterScreen
from tui.screens.compare import CompareScreen
from tui.screens.index import IndexScreen
from tui.screens.launch import LaunchScreen
from tui.screens.queue import QueueScreen
from tui.screens.recipes import RecipesScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen

SCREENS = {"runs": RunsScreen, "charts": RunScreen, "log": RunScreen, "index": IndexScreen, "queue": QueueScreen}
SCREENS |= {"compare": CompareScreen, "cluster": ClusterScreen, "launch": LaunchScreen, "recipes": RecipesScreen}


@pytest.mark.parametrize("screen", SCREENS)
def test_no_key_means_two_things_on_one_screen(screen: str) -> None:
    # Inside a log digits choose what of it is shown.
    others = ("run", "everywhere") if screen != "log" else ()
    here = table.of_scope(
        screen, *(other for other in others if other != "run" or hasattr(SCREENS[screen], "selected"))
    )
    keys = list(itertools.chain.from_iterable(entry.keys.split(",") for entry in here))
    assert len(keys) == len(set(keys))


def test_every_action_belongs_somewhere_and_has_an_id_of_its_own() -> None:
    assert {entry.scope for entry in ACTIONS} == {*SCREENS, "run", "everywhere"}
    assert len({entry.id for entry in ACTIONS}) == len(ACTIONS)
    assert not [entry.id for entry in ACTIONS if len(entry.text) > 67], "what it does is one line of the help"


@pytest.mark.parametrize("entry", ACTIONS, ids=lambda entry: entry.id)
def test_every_action_has_a_handler_and_names_a_command_that_exists(entry: Action) -> None:
    place, _, method = entry.handler.partition("(")[0].partition(".")
    owner = PlumblineApp if place == "app" else SCREENS[entry.scope]
    assert callable(getattr(owner, f"action_{method}"))
    if entry.cli is not None:
        assert entry.cli.split()[0] in COMMANDS


def test_for_every_action_some_test_presses_its_key_and_looks_at_what_it_does() -> None:
    # a test that is marked `presses` fails by itself when no key of it does these actions, see conftest.py
    marked = claimed(Path(__file__).parent)
    known = {entry.id for entry in ACTIONS}
    assert not known - marked, "these lack a test that is marked with pytest.mark.presses"
    assert not marked - known, "these are marked, and are no actions"


def test_read_only_refuses_whatever_writes(world: World) -> None:
    from engine.store import experiments

    experiment = experiments.get(world.store, world.add("one"))
    looking = Context(experiment, readonly=True)
    refused = {entry.id for entry in ACTIONS if (entry.refusal(looking) or "").startswith("Read-only")}
    launching = {"queue-it", "queue-new", "clone", "sooner", "later", "save-preset"}
    bookkeeping = {"archive", "tag", "note", "pin", "undo", "redo", "vote-left", "vote-right"}
    assert refused == {"new", "interrupt", "kill", "resume", "drain", *bookkeeping, *launching}


def test_what_cannot_be_done_says_why(world: World) -> None:
    from engine.store import experiments

    queued = experiments.get(world.store, world.add("one"))
    refusals = {entry.id: entry.refusal(Context(queued)) for entry in ACTIONS}
    assert {name for name, refusal in refusals.items() if refusal} == {"resume", "archive"}
    assert queued.id in (refusals["resume"] or "")
    empty = {entry.id for entry in ACTIONS if entry.refusal(Context())}
    assert empty == {
        "clone",
        "queue-open",
        "sooner",
        "later",
        "mark",
        "baseline",
        "diff",
        "tag",
        "note",
        "pin",
        "index-open",
        "index-mark",
        "compare-unmark",
        "compare-baseline",
        "cluster-open",
        "interrupt",
        "kill",
        "resume",
        "archive",
        "copy",
    }


def test_the_twin_names_the_experiment_and_a_database_that_is_not_the_default(world: World) -> None:
    from engine.store import experiments

    experiment = experiments.get(world.store, world.add("one"))
    kill = table.find("kill")
    assert kill is not None
    assert kill.twin(Context(experiment), None) == f"engine stop {experiment.id} --now"
    assert kill.twin(Context(experiment), "/a b/x.db") == f"engine stop {experiment.id} --now --db '/a b/x.db'"
    renamed = dataclasses.replace(kill, cli=None)
    assert renamed.twin(Context(experiment), None) is None
