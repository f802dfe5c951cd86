"""The preview of training data: rows as the trainer sees them, with what carries loss; or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.world import HOSTILE, SPEC, World, drive, screen_text, shows, until
from tui import engine_process
from tui.form.preview_text import legend, preview_lines
from tui.screens import preview
from tui.screens.launch import LaunchScreen

ROW = {
    "place": "/data/x.jsonl:1",
    "length": 3,
    "loss_tokens": 1,
    "tokens": [
        {"id": 1, "text": "Where\n", "loss": False},
        {"id": 2, "text": HOSTILE, "loss": False},
        {"id": 3, "text": "Zelt", "loss": True},
    ],
}
PAIR = {
    "place": "/data/x.jsonl:2",
    "group": "g",
    "chosen": {"length": 1, "tokens": [{"id": 1, "text": "a", "score": True}]},
    "rejected": {"length": 1, "tokens": [{"id": 1, "text": "b", "score": True}]},
}


def test_tokens_that_carry_loss_are_marked_and_hostile_text_is_shown() -> None:
    lines = [content for _, content in preview_lines([ROW, PAIR])]
    assert lines[0].plain == "x.jsonl:1  3 tokens, 1 with loss"
    assert lines[1].plain.startswith("  Where⏎|[red]gone[/red]") and lines[1].plain.endswith("|Zelt")
    marked = [lines[1].plain[span.start : span.end] for span in lines[1].spans if "underline" in str(span.style)]
    assert marked == ["Zelt"]
    assert "chosen (1 tokens)  a" in lines[4].plain
    assert "underlined carries loss" in legend([ROW]).plain and "score is read" in legend([PAIR]).plain


@pytest.mark.presses("preview")
def test_the_rows_are_those_of_the_spec_as_it_stands_in_the_form(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = world.store.path.parent
    (folder / "recipes").mkdir()
    (folder / "recipes" / "sft.yaml").write_text(SPEC.format(name="facts", steps=3, lr=1))
    (folder / "recipes" / "facts.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    asked: list[tuple[str, str, int]] = []

    async def rows_of(file: str, spec: str, database: Path, number: int) -> Sequence[dict[str, Any]] | str:
        asked.append((file, spec, number))
        return [ROW] if number == 5 else "transformers is not installed here."

    monkeypatch.setattr(preview, "rows_of", rows_of)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await shows(pilot, "recipes/sft.yaml")
        await pilot.press("g", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        form = pilot.app.screen
        assert isinstance(form, LaunchScreen)
        field = form.draft.field("data.max_length")
        assert field is not None
        form.draft.set(field, "64")
        await pilot.press("p")
        await shows(pilot, "x.jsonl:1", "Zelt", "underlined carries loss")
        assert all(line.isprintable() for line in screen_text(pilot.app.screen).splitlines())
        await pilot.press("m")
        await shows(pilot, "transformers is not installed here.")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is form)
        form.draft.set(field, "none")
        await pilot.press("p")
        await shows(pilot, "There is no preview of what is not valid")

    drive(world.app(), scenario)
    file, spec, number = asked[0]
    assert (file, number) == (str(folder / "recipes" / "facts.jsonl"), 5) and "max_length: 64" in spec


def test_what_engine_says_is_wrong_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Ended:
        """A process that has printed an error."""

        returncode = 4

        async def communicate(self) -> tuple[bytes, bytes]:
            return b'{"error": {}}', b"warning: x\nerror: /data/x.jsonl: there is no such file.\n"

    async def start(words: Sequence[str]) -> Ended:
        assert words[:3] == ["data", "show", "/data/x.jsonl"] and "--json" in words
        return Ended()

    monkeypatch.setattr(engine_process, "start", start)
    told = asyncio.run(preview.rows_of("/data/x.jsonl", "kind: sft", tmp_path / "x.db", 5))
    assert told == "/data/x.jsonl: there is no such file."
