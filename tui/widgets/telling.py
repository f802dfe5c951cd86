"""What a widget tells the screen that it stands on."""

from __future__ import annotations

from textual.message import Message


class Told(Message):
    """What a key did, or why it did nothing."""

    def __init__(self, sentence: str, severity: str = "information") -> None:
        super().__init__()
        self.sentence, self.severity = sentence, severity


class Changed(Message):
    """What is said around it is another now: values of the runs, standing facts."""
