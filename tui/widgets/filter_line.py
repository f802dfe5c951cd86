"""The line that a filter is typed into: how many it leaves, what may come next, or what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input, Static

from tui.canvas.charset import current
from tui.text.changes import tell
from tui.text.safe import visible

if TYPE_CHECKING:
    from engine.store.filtering.completion import Completion, Vocabulary
    from engine.store.filtering.language import InvalidFilter

_HELP = ("a b  both", "a|b  either", "-a  not", "( )  group", '"two words"', "tab  completes")


class FilterLine(Vertical):
    """Hidden while there is no filter; below the line a second one helps, as long as it is typed in."""

    DEFAULT_CSS = """
    FilterLine {
        display: none;
        height: auto;
        padding: 0 1;
        &.-shown { display: block; }
        Horizontal { height: 1; }
        #filter-sign { width: 2; color: $accent; text-style: bold; }
        #filter { width: 1fr; height: 1; border: none; padding: 0; background: $background; }
        #count { width: auto; color: $foreground 65%; }
        #filter-help {
            display: none;
            height: 1;
            padding-left: 2;
            color: $foreground 55%;
            text-wrap: nowrap;
            text-overflow: ellipsis;
        }
        &.-typed #filter-help { display: block; }
    }
    """

    class Changed(Message):
        """Another filter is typed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Done(Message):
        """The filter is meant as it stands."""

    def __init__(self) -> None:
        super().__init__(id="filter-line")
        self._input = _FilterInput(
            placeholder="word  kind:ppo  state:failed  spec.kl_target<=6  last.score>2", id="filter"
        )
        self._count = Static(id="count", markup=False)
        self._help = Static(id="filter-help", markup=False)
        self._error: InvalidFilter | None = None

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("/", id="filter-sign", markup=False)
            yield self._input
            yield self._count
        yield self._help

    @property
    def text(self) -> str:
        """The filter."""
        return self._input.value

    @property
    def typed_in(self) -> bool:
        """Whether the keyboard writes here."""
        return self._input.has_focus

    def put(self, text: str) -> None:
        """Put another filter there; said by `Changed`, like a typed one."""
        self._input.value = text
        self._input.cursor_position = len(text)
        self.set_class(bool(text), "-shown")

    def open(self) -> None:
        """Let a person type."""
        self.add_class("-shown")
        self._input.focus()

    def know(self, vocabulary: Vocabulary) -> None:
        """Take these words to complete with."""
        self._input.vocabulary = vocabulary
        self._tell()

    def tell(self, count: str, error: InvalidFilter | None = None) -> None:
        """Say how many the filter leaves, or what is wrong with it."""
        self._error = error
        tell(self._count, visible(count))
        self._tell()

    def _tell(self) -> None:
        line = self._input
        found = line.completions()
        error = self._error
        # What is only not yet typed to its end is no fault.
        if error is not None and not (found and error.end >= line.cursor_position):
            sentence = f"{error.message} {error.hint or ''}".strip()
            tell(self._help, Content.assemble((f"{error.start + 1}: ", "$error bold"), (visible(sentence), "$error")))
        elif found and line.value.strip():
            tell(self._help, completions_text(found, line.taken, self._help.size.width or 80))
        else:
            tell(self._help, Content(f"  {current().separator}  ".join(_HELP)))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))
        self._tell()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._error is None:
            self.set_class(bool(self.text), "-shown")
            self.post_message(self.Done())
        else:
            self._input.cursor_position = self._error.end

    def on_descendant_focus(self) -> None:
        self.add_class("-typed")
        self._tell()

    def on_descendant_blur(self) -> None:
        self.remove_class("-typed")
        self.set_class(bool(self.text), "-shown")


class _FilterInput(Input):
    """Completes with tab, one candidate after the other, and with → at the end of the line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete(1)", "complete", tooltip="complete a key or a value; again for the next one"),
        Binding("shift+tab", "complete(-1)", "complete backwards", show=False),
        Binding("enter", "submit", "ok", tooltip="keep the filter, and go to the list"),
        Binding("escape", "screen.back_out", "clear", tooltip="no filter"),
    ]

    def __init__(self, *, placeholder: str, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True, suggester=_Next(self))
        self.vocabulary: Vocabulary | None = None
        self.taken: int | None = None  # place of the candidate that tab has put in
        self._candidates: list[Completion] = []
        self._before = ("", 0)  # line and cursor when tab was first pressed
        self._made = ""  # the line that tab made

    def completions(self) -> list[Completion]:
        """Return what may come at the cursor; while tab goes through candidates, these."""
        from engine.store.filtering.completion import complete

        if self.taken is not None and self.value == self._made:
            return self._candidates
        self.taken = None
        return complete(self.value, self.cursor_position, self.vocabulary) if self.vocabulary is not None else []

    def action_complete(self, by: int) -> None:
        """Put the next candidate in."""
        found = self.completions()
        if not found:
            return
        if self.taken is None:
            self._candidates, self._before = found, (self.value, self.cursor_position)
            self.taken = 0 if by > 0 else len(found) - 1
        else:
            self.taken = (self.taken + by) % len(found)
        line, cursor = found[self.taken].into(*self._before)
        self._made = line
        if len(found) == 1:
            self.taken = None
        self.value = line
        self.cursor_position = cursor


class _Next(Suggester):
    """Shows the first completion behind the cursor, dimly."""

    def __init__(self, line: _FilterInput) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._line = line

    async def get_suggestion(self, value: str) -> str | None:
        """Return the line with the first completion in it."""
        found = self._line.completions() if value.strip() and value[-1:] not in " (" else []
        line = found[0].into(value, len(value))[0] if found and self._line.cursor_position == len(value) else ""
        return line if line.startswith(value) else None


def completions_text(found: list[Completion], taken: int | None, width: int) -> Content:
    """Return one line: as many candidates as fit, the one that is in the line or would come first is strong."""
    chosen = taken or 0
    meaning = found[chosen].meaning
    room = max(10, width - 4 - (cell_len(meaning) + 4 if meaning else 0))
    first = 0
    shown: list[int] = []
    for place, one in enumerate(found):
        size = cell_len(visible(one.text)) + 2
        while shown and sum(cell_len(visible(found[each].text)) + 2 for each in shown) + size > room and first < chosen:
            first += 1
            shown.pop(0)
        if sum(cell_len(visible(found[each].text)) + 2 for each in shown) + size > room and place > chosen:
            break
        shown.append(place)
    parts: list[Content | tuple[str, str]] = [("… ", "$foreground 40%")] if shown and shown[0] > 0 else []
    for place in shown:
        parts.append((visible(found[place].text), "bold $accent" if place == chosen else "$foreground 75%"))
        if place == chosen and meaning:
            parts.append((f" {visible(meaning)}", "$foreground 50%"))
        parts.append(("  ", ""))
    if shown and shown[-1] < len(found) - 1:
        parts.append(("…", "$foreground 40%"))
    return Content.assemble(*parts)
