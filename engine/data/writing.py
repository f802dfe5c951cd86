"""Files of a data set, written so that whoever reads them meanwhile sees whole ones only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput, Refused


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts to the files of a folder, by name, over those that are there.

    Raises:
        Refused: if they cannot be written.
        InvalidInput: if a text has half of a surrogate pair, as JSON may.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = folder / f".tmp-{name}"
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.replace(folder / name)
    except UnicodeEncodeError as error:
        raise InvalidInput("has a character that no text can hold: half of a surrogate pair.") from error
    except OSError as error:
        raise Refused(f"cannot be written: {error.strerror}.", where=str(error.filename or folder)) from error


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
