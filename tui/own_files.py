"""A person's own YAML files: where they are looked for, and how one is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput, NotFound


def own_file(name: str) -> Path:
    """Return where a file of that name is looked for unless another one is named."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "plumbline" / name


def read_mapping(file: Path, *, holds: str, lines: str, advice: str) -> dict[Any, Any]:
    """Return the keys and values of a file; an empty one has none.

    Args:
        file: it.
        holds: what it is a file of.
        lines: what its lines look like.
        advice: what to do about a file that is wrong.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: if it cannot be read, or is no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no such file of {holds}.", where=str(file)) from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        problem = str(error).partition("\n")[0]
        raise InvalidInput(f"cannot be read: {problem}.", hint=advice, where=str(file)) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(f"must have lines of {lines}.", hint=advice, where=str(file))
    return found
