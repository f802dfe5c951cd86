"""The pane beside a list that tells of the line under the cursor."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.message import Message


class DetailPane(VerticalScroll):
    """Says when its size is another one, or known at last: what it tells is broken into lines for its width."""

    class Resized(Message):
        """The text must be broken anew."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())
