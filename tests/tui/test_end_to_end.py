"""The whole way in a real terminal: launch over SSH, watch, quit, reattach, compare, stop; DeepSpeed trains."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.errors import PlumblineError
from engine.store import experiments, series
from engine.store.database import Store
from engine.telemetry.states import Desired, State
from tests.tui.terminal import Terminal
from tests.tui.test_terminal import PLUMBLINE

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = """
# A model that learns seven facts.
kind: sft
model:
  architecture: {hidden_size: 32, layers: 2, heads: 2, intermediate_size: 48, max_positions: 64}
  tokenizer: {kind: word}
data: {train: facts.jsonl, max_length: 64}
train: {steps: 100000, batch_size: 8, lr: 1e-3, precision: fp32, zero_stage: 2, sample_prompts: 0}
placement: {threads: 1}
"""
PATIENCE = 240.0  # seconds, on a machine that does much else
STEP = re.compile(r"\b(\d+)(?:/100k|/100000| of 100000)")


def axis_end(shown: str) -> int:
    """Return the last number below the charts."""
    lines = [line.replace(" step", "") for line in shown.splitlines()]  # where there is room for the word
    axes = [line.split() for line in lines if re.fullmatch(r"[ \d]*\d[ \d]*", line)]
    return max((int(number) for axis in axes for number in axis), default=0)


class Person:
    """Somebody at a terminal, in a folder with a recipe and a hostfile; the database is looked at beside them."""

    def __init__(self, folder: Path, hostfile: str) -> None:
        (folder / "recipes").mkdir()
        (folder / "recipes" / "facts.yaml").write_text(RECIPE.lstrip())
        rows = [{"prompt": f"where is x{n % 7} ?", "response": f"in y{n % 7} ."} for n in range(56)]
        (folder / "recipes" / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "hostfiles").mkdir()
        (folder / "hostfiles" / "lab").write_text(hostfile)
        self.database = folder / "experiments.db"
        self.terminal = Terminal(folder, 120, 40)
        self.terminal.environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PS1": "$ ", "ENV": ""}
        self.terminal.start("sh")
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The database that the first launch has made."""
        if self._store is None:
            self._store = Store.open(self.database)
        return self._store

    def plumbline(self) -> None:
        """Type the command."""
        self.press("clear", "Enter")
        self.terminal.type(shlex.join([*PLUMBLINE, "--db", self.database.name]) + "; echo left with $?")
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys."""
        self.terminal.press(*keys)

    def sees(self, *texts: str) -> str:
        """Wait until all of these stand on the screen."""
        return self.terminal.wait_for(*texts, seconds=PATIENCE)

    def step(self, shown: str) -> int:
        """Return the highest step on the screen."""
        return max((int(found) for found in STEP.findall(shown)), default=0)

    def sees_step_beyond(self, step: int) -> int:
        """Wait until a later step stands on the screen, and return it."""
        return self.step(self.terminal.until(lambda shown: self.step(shown) > step, seconds=PATIENCE))

    def find(self, field: str, label: str) -> None:
        """Search a field of the form, and put the cursor on it."""
        self.press("/")
        self.sees("/ words of a field")
        self.terminal.type(field)
        self.sees(" 1 of ")
        self.press("Enter")
        self.sees("⏎ edit")
        self.press("G")
        self.terminal.until(lambda shown: re.search(rf"(?m)^│ {re.escape(label)}  ", shown) is not None)

    def edit(self, field: str, label: str, value: str) -> None:
        """Give a field of the form another value, and show all fields again."""
        self.find(field, label)
        self.press("Enter")
        self.sees("esc take back")
        self.terminal.type(value)  # over the old one, all of which is selected
        self.sees(f"{value}  ")
        self.press("Enter")
        self.sees("⏎ edit")
        self.show_all()

    def show_all(self) -> None:
        """End the search of the form."""
        self.press("Escape")
        self.terminal.until(lambda shown: " 1 of " not in shown)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what the database says."""
        give_up = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < give_up, (self.terminal.screen(), lifecycle.log_path(self.database).read_text())
            time.sleep(0.1)

    def leave(self) -> None:
        """End all that runs: the terminal, the runs, their dispatcher."""
        self.terminal.stop()
        if not self.database.exists():
            return
        for experiment in experiments.unfinished(self.store):
            self.until(lambda experiment=experiment: self._stopped(experiment.id))
        lifecycle.stop(self.database)
        self.store.close()

    def _stopped(self, identity: str) -> bool:
        if experiments.get(self.store, identity).state.ended:
            return True
        try:
            experiments.set_desired(self.store, identity, Desired.STOP_NOW)
        except PlumblineError:
            return experiments.get(self.store, identity).state.ended
        lifecycle.ensure_running(self.database)
        return False


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    with Testbed.start(tmp_path / "ssh", nodes=1, slots=1, workdir=tmp_path / "work") as lab:
        folder = tmp_path / "mine"
        folder.mkdir()
        found = Person(folder, lab.hostfile.read_text())
        yield found
        found.leave()


@pytest.mark.timeout(900)
def test_one_launches_watches_quits_comes_back_compares_and_stops(person: Person) -> None:
    person.plumbline()
    launch_from_a_recipe(person)
    watch(person)
    quit_and_come_back(person)
    clone_with_one_change(person)
    stop_the_first(person)
    compare(person)
    kill_the_second(person)
    person.press("q")
    assert "on; plumbline" not in person.sees("left with 0")
    for identity in ("sft-0001", "sft-0002"):
        steps = list(series.read(person.store, identity, "loss").step)
        assert steps and steps == list(range(1, len(steps) + 1))
        assert experiments.get(person.store, identity).state is State.STOPPED


def launch_from_a_recipe(person: Person) -> None:
    person.sees("No runs yet.")
    person.press("n")
    person.sees("recipes/facts.yaml", "learns seven facts")
    person.press("Enter")
    person.sees("the spec is valid")
    person.find("--hostfile", "where")
    person.press("Right")
    person.sees("hostfiles/lab  ← this machine", "1 node, 1 rank: node-1")
    person.show_all()
    person.edit("--name", "name", "first")
    person.sees("--name first", "the spec is valid")
    person.press("C-j")
    person.sees("Launch first on 1 node of hostfiles/lab?", "It starts as soon as 1 slot is free.")
    person.press("y")
    person.sees("sft-0001", "first")


def watch(person: Person) -> None:
    person.sees("● running")
    person.sees_step_beyond(person.sees_step_beyond(0))
    person.press("Enter")
    early = person.sees("─ loss ", "─ lr ", "─ grad_norm ", "┤")
    person.terminal.until(lambda shown: axis_end(shown) > axis_end(early) > 0, seconds=PATIENCE)
    person.sees_step_beyond(person.step(early))


def quit_and_come_back(person: Person) -> None:
    person.press("q")
    person.sees("1 run goes on; plumbline shows it again.", "left with 0")
    left_at = experiments.get(person.store, "sft-0001").step
    person.until(lambda: experiments.get(person.store, "sft-0001").step > left_at + 5)
    reached = experiments.get(person.store, "sft-0001").step
    person.plumbline()
    shown = person.terminal.until(lambda shown: "● running" in shown and STEP.search(shown) is not None, PATIENCE)
    assert person.step(shown) >= reached, "it is caught up when it shows the run"


def clone_with_one_change(person: Person) -> None:
    person.press("C")
    person.sees("New sft run, as sft-0001", "where sft-0001 ran")
    person.edit("train.lr", "train.lr", "0.01")
    person.edit("--name", "name", "second")
    person.sees("train.lr=0.01", "--name second", "it waits", "the spec is valid")
    person.press("C-j")
    person.sees("Launch second on 1 node")
    person.press("y")
    person.sees("sft-0002", "○ queued")
    person.press("4")
    person.sees("1 wait", "needs 1 node, none free")
    person.press("1")
    person.sees("sft-0002", "recent")


def stop_the_first(person: Person) -> None:
    person.press("G")
    person.sees("─ sft-0001 ─")
    person.press("I")
    person.sees("Stop sft-0001 (first)?", "no step is lost", "engine stop sft-0001")
    person.press("y")
    person.until(lambda: experiments.get(person.store, "sft-0001").state is State.STOPPED)
    person.sees("■ stopped", "● running")


def compare(person: Person) -> None:
    person.press("b")
    person.sees("◉A")
    person.press("g", "Space")
    person.sees("◆B sft-0002", "◉A sft-0001")
    person.until(lambda: experiments.get(person.store, "sft-0002").step > 20)
    person.press("3")
    person.sees("─ loss ", "first", "second", "┤")
    person.press("d")
    person.sees("train.lr", "0.001", "0.01")


def kill_the_second(person: Person) -> None:
    person.press("1")
    person.sees("recent", "◆B sft-0002")
    person.press("g")
    person.sees("─ sft-0002 ─")
    person.press("K")
    person.sees("Kill 1 run?", "sft-0002. Steps lost", "engine stop sft-0002 --now")
    person.press("y")
    person.until(lambda: experiments.get(person.store, "sft-0002").state is State.STOPPED)
    person.terminal.until(lambda shown: shown.count("■ stopped") >= 2 and "● running" not in shown)
