"""Keys of one's own: a YAML file of action ids and keys, checked before the program opens.

    kill: ctrl+k
    filter: slash,f

The ids stand in docs/keys.md. A file that is wrong is refused whole: half a keymap would be a trap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import InvalidInput
from tui.actions import table
from tui.actions.action import Action, key_name
from tui.own_files import own_file, read_mapping

_ALONE = ("log", "launch", "recipes")  # scopes in which the keys of a run mean nothing
_ADVICE = "docs/keys.md lists the ids of all actions."


def usual_file() -> Path:
    """Return where the file is looked for unless another one is named."""
    return own_file("keys.yaml")


def read(file: Path) -> Mapping[str, str]:
    """Return keys by action.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: if it is no mapping of action ids to keys.
    """
    found = read_mapping(file, holds="keys", lines="ACTION: KEY", advice=_ADVICE)
    for identity, keys in found.items():
        if not isinstance(keys, str) or not all(key.strip() for key in keys.split(",")):
            raise InvalidInput(f"{identity}: {keys!r} is no key.", hint='Quote digits and signs: "7".', where=str(file))
    return {str(identity): ",".join(key.strip() for key in keys.split(",")) for identity, keys in found.items()}


def rebound(actions: Sequence[Action], keys: Mapping[str, str], where: str) -> tuple[Action, ...]:
    """Return the actions with these keys in place of their own.

    Raises:
        InvalidInput: if there is no action of that id, or a key would mean two things on one screen.
    """
    from engine.spec.keys import nearest

    texts = {action.id: action.text for action in actions}
    for identity in keys:
        if identity not in texts:
            near = nearest(identity, texts)
            hint = f"Did you mean {near}? {_ADVICE}" if near else _ADVICE
            raise InvalidInput(f"{identity} is no action.", hint=hint, where=where)
    changed = tuple(replace(action, keys=keys[action.id]) if action.id in keys else action for action in actions)
    _require_clear(changed, keys, where)
    return changed


def apply(file: Path) -> None:
    """Let the table of actions have the keys of a file; to be called before any screen is loaded. Raises as `read`."""
    table.replace_all(rebound(table.ACTIONS, read(file), str(file)))


def _require_clear(actions: Sequence[Action], keys: Mapping[str, str], where: str) -> None:
    for scope in dict.fromkeys(action.scope for action in actions):
        others = () if scope == "log" else ("everywhere",) if scope in _ALONE else ("everywhere", "run")
        taken: dict[str, Action] = {}
        for action in (action for action in actions if action.scope in (scope, *others)):
            for key in action.keys.split(","):
                other = taken.setdefault(key, action)
                if other is not action and (other.id in keys or action.id in keys):
                    raise InvalidInput(
                        f"{key_name(key)} would mean both {other.id} and {action.id}.",
                        hint="Give one of them another key.",
                        where=where,
                    )
