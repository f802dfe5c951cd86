"""One line of standing facts; for some seconds a sentence takes its place."""

from __future__ import annotations

from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from tui.text.safe import visible

_SECONDS = {"information": 5.0, "warning": 8.0, "error": 15.0}


class StatusLine(Static):
    """What the last action said, else the standing facts."""

    DEFAULT_CSS = """
    StatusLine {
        height: 1;
        padding: 0 1;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        color: $foreground 65%;
        &.-information { color: $foreground; }
        &.-warning { color: $warning; }
        &.-error { color: $error; text-style: bold; height: auto; max-height: 3; text-wrap: wrap; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._facts = Content()
        self._sentence = ""
        self._timer: Timer | None = None

    @property
    def sentence(self) -> str:
        """The sentence that is shown now; empty when the facts are."""
        return self._sentence

    def facts(self, facts: Content) -> None:
        """Set the standing facts."""
        if facts != self._facts:
            self._facts = facts
            if not self._sentence:
                self.update(facts, layout=False)

    def say(self, sentence: str, severity: str = "information") -> None:
        """Show a sentence for some seconds."""
        self.silence()
        self._sentence = " ".join(visible(line) for line in sentence.splitlines())
        self.add_class(f"-{severity}")
        self.update(Content(self._sentence), layout=severity == "error")
        self._timer = self.set_timer(_SECONDS.get(severity, 5.0), self.silence)

    def silence(self) -> None:
        """Show the standing facts again."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.remove_class("-information", "-warning", "-error")
        if self._sentence:
            self._sentence = ""
            self.update(self._facts, layout=False)
