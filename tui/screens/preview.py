"""The first rows of a data file as the trainer sees them. A process of its own reads and tokenises them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.errors import PlumblineError
from tui import engine_process
from tui.form.draft import Draft
from tui.form.fields import Field, Shape
from tui.form.preview_text import legend, preview_lines
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.widgets.story import Story

_FIRST, _MOST = 5, 80  # rows
_KINDS = ("sft", "rm", "ppo")


class PreviewScreen(ModalScreen[None]):
    """Text over the form; `m` shows more rows."""

    DEFAULT_CSS = """
    PreviewScreen { align: center middle; background: $background 60%; }
    PreviewScreen > Vertical {
        width: 96%;
        height: 92%;
        background: $surface;
        border: round $border;
        border-title-color: $accent;
        border-title-style: bold;
        border-subtitle-color: $foreground 55%;
    }
    PreviewScreen #legend { height: 1; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,p", "dismiss(None)", "back"),
        Binding("m", "more", "more rows"),
    ]

    def __init__(self, file: str, spec: str, database: Path) -> None:
        """file: the data. spec: the text of the spec that reads it."""
        super().__init__()
        self._file, self._spec, self._database = file, spec, database
        self._number = _FIRST
        self._text = Story(empty="reading and tokenising…", id="rows")
        self._legend = Static(id="legend", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = visible(Path(self._file).name)
            box.border_subtitle = "m more rows   esc back"
            yield self._text
            yield self._legend

    def on_mount(self) -> None:
        self._text.focus()
        self._text.show([])
        self._read()

    def action_more(self) -> None:
        """Show twice as many rows."""
        self._number = min(_MOST, 2 * self._number)
        self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        self._legend.update(Content.assemble(("reading…", "$foreground 60%")))
        found = await rows_of(self._file, self._spec, self._database, self._number)
        if isinstance(found, str):
            self._legend.update("")
            self._text.show(_error(found))
        else:
            self._text.show(preview_lines(found))
            self._legend.update(legend(found))


def _error(sentence: str) -> list[Line]:
    return [(0, Content.assemble((visible(line), "$error"))) for line in sentence.splitlines()]


def preview_of(draft: Draft, field: Field | None, database: Path) -> PreviewScreen | str:
    """Return the preview of the path of a field, else of the training data; or why there is none. For threads."""
    from engine.spec.canonical import to_yaml
    from engine.spec.resolve import is_reference, paths_by_key

    key = field.key if field is not None else ""
    try:
        spec, within = draft.spec_for(key)
    except PlumblineError as error:
        return f"There is no preview of what is not valid: {error.message.splitlines()[0]}"
    if spec.kind not in _KINDS:
        return f"A run of kind {spec.kind} trains on nothing: there is no preview."
    paths = paths_by_key(spec)
    is_data = field is not None and field.shape is Shape.PATH and within.startswith("data.") and within in paths
    file = paths[within] if is_data and not within.endswith(".template") else paths["data.train"]
    if is_reference(file):
        return f"{file} is not on this machine: there is no preview."
    return PreviewScreen(file, to_yaml(spec), database)


async def rows_of(file: str, spec: str, database: Path, number: int) -> Sequence[dict[str, Any]] | str:
    """Return the first rows as `engine data show --json` has them, or what is wrong."""
    with tempfile.TemporaryDirectory(prefix="plumbline-preview-") as folder:
        written = Path(folder) / "spec.yaml"
        await asyncio.to_thread(written.write_text, spec, encoding="utf-8")
        words = ["data", "show", file, "-n", str(number), "--spec", str(written), "--json", "--db", str(database)]
        try:
            rows: Sequence[dict[str, Any]] = await engine_process.document(words)
        except engine_process.EngineFailed as error:
            return str(error).replace(f"{written}: ", "")
    return rows
