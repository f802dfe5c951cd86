"""Every screen as it was when somebody looked at it and found it good. `make snapshots` stores how they are now."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

import tui.data
import tui.form.recipes
from tests.tui.snapshots.picture import difference
from tests.tui.snapshots.tour import settled, tour
from tui.showcase.__main__ import write
from tui.showcase.history import HOSTFILE, Clock
from tui.showcase.opening import DATABASE

STORED = Path(__file__).parent / "stored"
MODES = {"120x40": (120, 40), "80x24": (80, 24), "no-color": (120, 40)}
WHOLE = "120x40"  # has every stop of the tour; the others one for each screen
STILL = 20.0  # seconds without a change after which a screen is taken for what it is
_NOW = 1_780_000_000.0  # a Thursday in May 2026
_RECIPE = """\
# What it is for: a model of two layers, in a minute.
kind: sft
note: two layers, one minute
model: {architecture: {layers: 2}, tokenizer: {}}
data: {train: facts.jsonl}
"""


@contextmanager
def fixed_world(folder: Path) -> Iterator[Path]:
    """Yield the database of the generated experiments in a folder; clock, time zone and places are fixed until then."""
    write(folder, _NOW)[0].store.close()
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny.yaml").write_text(_RECIPE, encoding="utf-8")
    (folder / "recipes" / "facts.jsonl").write_text('{"prompt": "Where?", "response": "There."}\n', encoding="utf-8")
    (folder / "hostfiles").mkdir()
    (folder / "hostfiles" / "eight-nodes").write_text(HOSTFILE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TZ": "UTC", "LC_ALL": "C.UTF-8", "ENGINE_DB": str(folder / DATABASE)}.items():
            patch.setenv(name, value)
        for name in ("NO_COLOR", "PLUMBLINE_ASCII", "SSH_CONNECTION", "TMUX"):
            patch.delenv(name, raising=False)
        time.tzset()
        patch.setattr(time, "time", Clock(_NOW))
        patch.setattr(tui.data, "_dispatcher_pid", lambda path: 4021)
        patch.setattr(tui.form.recipes, "_CHECKOUT", folder)
        patch.chdir(folder)
        yield folder / DATABASE
    time.tzset()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with fixed_world(tmp_path_factory.mktemp("generated") / "world") as found:
        yield found


@pytest.mark.parametrize("mode", MODES)
def test_every_screen_is_as_it_is_stored(mode: str, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make snapshots` stores how the screens are now; look at what `git diff` shows of them."""
    if mode == "no-color":
        monkeypatch.setenv("NO_COLOR", "1")
    others: list[str] = []
    seen: set[Path] = set()

    async def compare(pilot: Pilot[None], name: str) -> None:
        file = STORED / mode / f"{name}.txt"
        stored = file.read_text(encoding="utf-8") if file.exists() else ""
        seen.add(file)
        found = await settled(pilot, STILL, wanted=stored)
        if found != stored:
            others.append(f"{mode}/{name}:\n{difference(stored, found)}")

    tour(database, MODES[mode], compare, whole=mode == WHOLE)
    assert not others, "\n\n".join(["`make snapshots` stores the screens as they are now.", *others])
    assert seen == set((STORED / mode).glob("*.txt"))  # nothing is stored of what is not looked at


def renew() -> None:
    """Store how all screens are now."""
    with tempfile.TemporaryDirectory() as folder, fixed_world(Path(folder) / "world") as database:
        for mode, size in MODES.items():
            os.environ.pop("NO_COLOR", None)
            if mode == "no-color":
                os.environ["NO_COLOR"] = "1"
            (STORED / mode).mkdir(parents=True, exist_ok=True)
            for file in (STORED / mode).glob("*.txt"):
                file.unlink()

            async def store(pilot: Pilot[None], name: str, mode: str = mode) -> None:
                found = await settled(pilot)
                assert folder not in found, f"{mode}/{name} shows a path of this machine:\n{found}"
                (STORED / mode / f"{name}.txt").write_text(found, encoding="utf-8")

            tour(database, size, store, whole=mode == WHOLE)
            sys.stdout.write(f"{mode}: {len(list((STORED / mode).glob('*.txt')))} screens\n")


if __name__ == "__main__":
    renew()
