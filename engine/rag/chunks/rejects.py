"""What a build could not use, as a file of the index: a line of JSON each, with the reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from engine.errors import InvalidInput
from engine.rag.records import Rejected


def write_rejects(rejected: Sequence[Rejected], file: Path) -> None:
    """Write a line of JSON for everything that was left out."""
    lines = (json.dumps({"place": one.place, "reason": one.reason}, ensure_ascii=False) for one in rejected)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_rejects(file: Path) -> list[Rejected]:
    """Return what `write_rejects` wrote. Raises InvalidInput if the file is damaged."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        return [Rejected(**json.loads(line)) for line in lines if line]
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput("is damaged: not all of its lines can be read.", where=str(file)) from error
