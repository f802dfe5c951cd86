"""The paths in a spec. `InputPath` in `engine.spec.models` marks them; there is no second list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.errors import InvalidInput
from engine.spec.models import AnySpec


def with_absolute_paths(spec: AnySpec, folder: Path) -> AnySpec:
    """Return the spec with all its paths absolute.

    Args:
        spec: its relative paths are relative to `folder`; `~` is the home of this user, `~NAME` of another.
        folder: usually that of the spec file.

    Raises:
        InvalidInput: when a path begins with the home of a user that does not exist.
    """
    return _visited(spec, lambda path: str(_absolute(path, folder)))


def input_paths(spec: AnySpec) -> list[Path]:
    """Return the files and folders that must exist before the launch, each once, in the order of the spec."""
    found: dict[Path, None] = {}

    def note(path: str) -> str:
        found[Path(path)] = None
        return path

    _visited(spec, note)
    return list(found)


def _visited(spec: AnySpec, visitor: Callable[[str], str]) -> AnySpec:
    return type(spec).model_validate(spec.model_dump(), context=visitor)


def _absolute(text: str, folder: Path) -> Path:
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InvalidInput(f"there is no home folder for {Path(text).parts[0]}.", where=text) from None
    if path.parts[:1] == ("..",):
        folder = folder.resolve()  # a parent of the real folder, not of a link to it
        while path.parts[:1] == ("..",):
            folder, path = folder.parent, Path(*path.parts[1:])
    return folder.absolute() / path
