"""Texts into files: whole or not at all, and nothing that stood there is lost."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import InvalidInput, Refused, RunFailed


def write_file(path: Path, text: str, *, over: bool = False, hint: str = "--force writes over it.") -> None:
    """Write a file.

    Arguments:
        over: also over another one.
        hint: what to do about another one.

    Raises:
        Refused: if another file stands there.
        RunFailed: if it cannot be written, with the reason; what stood there is as it was.
    """
    with _said(path), _temporary(path, text) as made:
        if over or (path.is_file() and path.read_bytes() == text.encode()):
            made.replace(path)
            return
        try:
            _put(made, path)
        except FileExistsError:
            raise Refused(
                "is there already, and holds something else.", hint="--force writes over it.", where=str(path)
            ) from None


def write_new(folder: Path, stem: str, style: str, text: str) -> Path:
    """Write a file of a name that is free, and return its path. style: its ending without the dot. Raises RunFailed."""
    with _said(folder), _temporary(folder / f"{safe_name(stem)}.{style}", text) as made:
        while True:
            path = free_path(folder, stem, style)
            with suppress(FileExistsError):
                _put(made, path)
                return path


def free_path(folder: Path, stem: str, style: str) -> Path:
    """Return a path that no file has: STEM.STYLE, else STEM-2.STYLE and so on."""
    name, number = safe_name(stem), 1
    while True:
        path = folder / (f"{name}.{style}" if number == 1 else f"{name}-{number}.{style}")
        if not os.path.lexists(path):
            return path
        number += 1


def style_of(path: Path, styles: Collection[str]) -> str:
    """Return which of the styles the name of a file asks for. Raises InvalidInput."""
    style = path.suffix.lower().removeprefix(".")
    if style not in styles:
        told = " or ".join(f".{one}" for one in styles)
        raise InvalidInput(f"{path.name} does not say what it should be.", hint=f"Call it {told}.")
    return style


def safe_name(text: str) -> str:
    """Return the text without what has no place in the name of a file."""
    return re.sub(r"[^A-Za-z0-9_@.-]+", "_", text)


@contextmanager
def _temporary(path: Path, text: str) -> Iterator[Path]:
    """Yield a file beside `path` that holds the text; it is gone afterwards."""
    made = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.part")
    try:
        with made.open("xb") as file:
            file.write(text.encode())
        yield made
    finally:
        made.unlink(missing_ok=True)


def _put(made: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError if that is taken."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: the name is taken first, then the whole put in its place.
        path.open("xb").close()
        made.replace(path)


@contextmanager
def _said(where: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise RunFailed(f"cannot be written: {error.strerror}.", where=str(where)) from error
