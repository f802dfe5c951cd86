"""A spec as a recipe: a file to launch from, whose paths are relative to its folder where that is possible."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.spec.canonical import to_yaml
from engine.spec.resolve import is_reference, visited

if TYPE_CHECKING:
    from engine.spec.models import AnySpec


def write_recipe(spec: AnySpec, file: Path, *, overwrite: bool = False) -> None:
    """Write a spec with every key and what it means.

    Args:
        spec: its paths are absolute, but for those of other machines.
        file: where; its folder is made if need be.
        overwrite: whether a file that is there gives way.

    Raises:
        InvalidInput: if it is there, or cannot be written.
    """
    folder = file.expanduser().absolute().parent
    text = to_yaml(visited(spec, lambda path: _near(path, folder)), comments=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.expanduser().open("w" if overwrite else "x", encoding="utf-8") as content:
            content.write(text)
    except FileExistsError:
        raise InvalidInput("exists already.", hint="Name another file.", where=str(file)) from None
    except OSError as error:
        raise InvalidInput(f"cannot be written: {error.strerror}.", where=str(file)) from error


def _near(path: str, folder: Path) -> str:
    """Return a path relative to the folder, if both are below the working folder; else as it is."""
    here = Path.cwd()
    if is_reference(path) or not Path(path).is_absolute():
        return path
    return os.path.relpath(path, folder) if Path(path).is_relative_to(here) and folder.is_relative_to(here) else path
