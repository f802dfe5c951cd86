"""Small files that a reader sees whole: the old one or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_json(path: Path, document: object, *, durable: bool = True) -> None:
    """Write a JSON file. durable: it survives a power cut. Raises OSError; the old file stays then."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, and the folders above it. Raises OSError; the old file stays then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
