"""The fields of the launch itself: where it runs, its name, its place in the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput
from tui.form.fields import Field, Shape
from tui.form.launches import Request, near

HERE = "this machine, without SSH"
_HEADING = Field("--", "launch", 0, Shape.HEADING, "where it runs, and when it has its turn")


class LaunchFields:
    """What `engine launch` is told beside the spec; the keys are its options."""

    def __init__(self, hostfiles: Sequence[Path | None], *, default_name: str = "", here: str | None = None) -> None:
        """hostfiles: to choose from, the first one to begin with. here: what null is called among them."""
        self.default_name = default_name
        self._hostfiles = {(here or HERE) if path is None else near(path): path for path in hostfiles}
        self._begin: dict[str, Any] = {
            "--hostfile": next(iter(self._hostfiles)),
            "--name": "",
            "--tag": [],
            "--priority": 0,
            "--after": [],
            "--gpu-memory": "",
            "--force": False,
        }
        self._now = dict(self._begin)

    def fields(self) -> Iterator[Field]:
        """Yield them."""
        files = tuple(self._hostfiles)
        yield _HEADING
        yield self._field("--hostfile", "where", Shape.CHOICE, "the nodes: a hostfile", choices=files)
        named = f"; empty: {self.default_name}" if self.default_name else "; empty: by its id"
        yield self._field("--name", "name", Shape.TEXT, f"of the experiment{named}", nullable=True)
        yield self._field("--tag", "tags", Shape.LIST, "words for people, with commas between them")
        about = "higher ones begin first: a level is worth twelve hours of having come earlier"
        yield self._field("--priority", "priority", Shape.NUMBER, about, allowed="a whole number")
        yield self._field("--after", "after", Shape.LIST, "experiments that must have succeeded before it begins")
        about = "of one GPU, for the plan, as 80GB; empty: what is known, or the usual"
        yield self._field("--gpu-memory", "GPU memory", Shape.TEXT, about, nullable=True)
        yield self._field("--force", "force", Shape.TRUTH, "queue also what its plan says cannot run")

    def _field(self, key: str, label: str, shape: Shape, description: str, **more: Any) -> Field:
        return Field(key, label, 1, shape, description, value=self._now[key], base=self._begin[key], **more)

    def set(self, key: str, text: str) -> bool:
        """Set one of them; returns whether it is one."""
        if key not in self._now:
            return False
        text = text.strip()
        if isinstance(self._begin[key], list):
            self._now[key] = [part for part in text.strip("[]").replace(",", " ").split() if part]
        elif isinstance(self._begin[key], bool):
            self._now[key] = text == "true"
        elif key == "--priority":
            self._now[key] = int(text) if text.removeprefix("-").isdecimal() else text or 0
        else:
            self._now[key] = text
        return True

    def reset(self, key: str) -> bool:
        """Give one of them the value that it began with; returns whether it is one."""
        if key not in self._now:
            return False
        self._now[key] = self._begin[key]
        return True

    def remember(self) -> Callable[[], None]:
        """Return what brings everything back to how it is now."""
        before = dict(self._now)
        return lambda: self._now.update(before)

    def faults(self) -> dict[str, str]:
        """Return what is wrong with them, by key."""
        from engine.plan.sizes import parse_size

        found = {}
        priority, size = self._now["--priority"], self._now["--gpu-memory"]
        if not isinstance(priority, int):
            found["--priority"] = f"the priority must be a whole number; it is {priority!r}."
        try:
            if size:
                parse_size(size)
        except InvalidInput as error:
            found["--gpu-memory"] = f"the GPU memory: {error.message} {error.hint or ''}".strip()
        return found

    def request(self, **more: Any) -> Request:
        """Return what is asked for."""
        priority = self._now["--priority"]
        return Request(
            hostfile=self._hostfiles.get(self._now["--hostfile"]),
            name=self._now["--name"],
            tags=tuple(self._now["--tag"]),
            priority=priority if isinstance(priority, int) else 0,
            after=tuple(self._now["--after"]),
            gpu_memory=self._now["--gpu-memory"],
            force=self._now["--force"],
            **more,
        )
