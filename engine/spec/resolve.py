"""The paths in a spec. `InputPath` in `engine.spec.models` marks them; there is no second list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput
from engine.spec.document import KeyPath, dotted
from engine.spec.models import AnySpec

_MARK = "\0"  # no path that a spec may have holds it


def with_absolute_paths(spec: AnySpec, folder: Path, *, but: Collection[str] = ()) -> AnySpec:
    """Return the spec with all its paths absolute; references stay as they are.

    Args:
        spec: its relative paths are relative to `folder`; `~` is the home of this user, `~NAME` of another.
        folder: usually that of the spec file.
        but: paths that stay as they are: those of nodes, whose homes are others.

    Raises:
        InvalidInput: when a path begins with the home of a user that does not exist.
    """
    return visited(spec, lambda path: path if is_reference(path) or path in but else str(absolute(path, folder)))


def input_paths(spec: AnySpec) -> list[Path]:
    """Return the files and folders that must exist before the launch, each once, in the order of the spec."""
    found: dict[Path, None] = {}

    def note(path: str) -> str:
        if not is_reference(path):
            found[Path(path)] = None
        return path

    visited(spec, note)
    return list(found)


def paths_by_key(spec: AnySpec) -> dict[str, str]:
    """Return every path, references too, by its dotted key: `data.train`, `model.tokenizer.corpus[0]`."""
    return {dotted(place): text for place, text in paths_by_place(spec).items()}


def paths_by_place(spec: AnySpec) -> dict[KeyPath, str]:
    """Return every path, references too, by its key as a tuple."""
    marked = visited(spec, lambda path: _MARK + path).model_dump()
    return {place: text.removeprefix(_MARK) for place, text in _texts(marked, ()) if text.startswith(_MARK)}


def is_reference(path: str) -> bool:
    """Whether this stands for the output of an experiment (`engine.spec.references`); `./${x` is a file."""
    return path.startswith("${")


def visited(spec: AnySpec, visitor: Callable[[str], str]) -> AnySpec:
    """Return the spec with each path replaced by what the visitor makes of it."""
    return type(spec).model_validate(spec.model_dump(), context=visitor)


def _texts(value: Any, place: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _texts(below, (*place, name))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from _texts(below, (*place, index))


def absolute(text: str, folder: Path) -> Path:
    """Return a path as `with_absolute_paths` makes it. Raises InvalidInput as that does."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InvalidInput(f"there is no home folder for {Path(text).parts[0]}.", where=text) from None
    if path.parts[:1] == ("..",):
        folder = folder.resolve()  # a parent of the real folder, not of a link to it
        while path.parts[:1] == ("..",):
            folder, path = folder.parent, Path(*path.parts[1:])
    return folder.absolute() / path
