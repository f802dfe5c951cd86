"""A spec as text, as flat keys and as a hash: the same for equal specs, whatever file they came from.

Sections by name, such as the terms of a reward, are printed in the order in which they were given. Nothing else depends
on that order: specs that differ in it alone are equal, and have the same hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import Node
from ruamel.yaml.representer import SafeRepresenter

from engine.spec.fields import Section
from engine.spec.keys import Key, entry_of, keys_of
from engine.spec.models import AnySpec

HASH_VERSION = 1  # raise it when a default changes: an old spec that left the key out means something else since then
_NOT_COMPUTED = ("name", "note", "placement", "supervision")
_COMMENT_COLUMN = 40  # at most; comments of longer lines follow their value
_PLAIN = re.compile(r"[\w./~][\w ./~+=@-]*")  # all else is quoted: in lists the library writes some that none can read
_NO_TEXT_ELSEWHERE = frozenset({"y", "n", "yes", "no", "on", "off"})  # what YAML 1.1 takes for true and false


def to_yaml(spec: AnySpec, *, comments: bool = False) -> str:
    """Return the spec as YAML with every key, one a line, in the order of the types.

    `parse_spec` reads it back as an equal spec. comments: say beside each key what it means.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 1 << 30
    stream = StringIO()
    yaml.dump(spec.model_dump(mode="json"), stream)
    text = stream.getvalue()
    return _commented(text, spec) if comments else text


class _Representer(SafeRepresenter):
    """One line a key: lists in brackets, line breaks escaped. Older YAML readers see the same values."""

    def text(self, value: str) -> Node:
        plain = _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT_ELSEWHERE
        style = None if plain else "'" if value.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", value, style)

    def number(self, value: float) -> Node:
        digits, e, exponent = repr(value).partition("e")
        mantissa = f"{digits}.0" if e and "." not in digits else digits  # YAML 1.1 reads 2e-05 as text
        return self.represent_scalar("tag:yaml.org,2002:float", mantissa + e + exponent)

    def list(self, value: list[Any]) -> Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


_Representer.add_representer(str, _Representer.text)
_Representer.add_representer(float, _Representer.number)
_Representer.add_representer(list, _Representer.list)


def _commented(text: str, spec: AnySpec) -> str:
    lines = text.splitlines()
    column = min(_COMMENT_COLUMN, max(map(len, lines)) + 2)
    commented = []
    depth_before = 1
    for line, (path, key, value) in zip(lines, _keys(spec), strict=True):
        if len(path) == 1 and (depth_before > 1 or isinstance(value, Section | dict)):
            commented.append("")
        commented.append(f"{line:<{column - 2}}  # {_comment(key, value)}")
        depth_before = len(path)
    return "\n".join(commented) + "\n"


def _comment(key: Key, value: Any) -> str:
    comment = key.description
    if key.choices and not all(choice in comment for choice in key.choices):
        comment += f" ({', '.join(key.choices)})"
    if value is None and key.section is not None:
        comment += f" ({', '.join(keys_of(key.section))})"
    return comment


def _keys(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key, Any]]:
    """Return every key with its path and value; a section, or sections by name, before the keys in it."""
    for name, key in keys_of(type(section)).items():
        value = getattr(section, name)
        yield (*path, name), key, value
        if isinstance(value, Section):
            yield from _keys(value, (*path, name))
        if key.entries is not None:
            for entry, within in value.items():
                yield (*path, name, entry), entry_of(key.entries), within
                yield from _keys(within, (*path, name, entry))


def flatten(spec: AnySpec) -> dict[str, Any]:
    """Return the value of every key by its dotted name, as JSON has it: no sections, but null for an absent one.

    The keys of sections by name have the name in theirs: `rewards.faithful.weight`.
    """
    return {
        ".".join(path): list(value) if isinstance(value, tuple) else value
        for path, _, value in _keys(spec)
        if not isinstance(value, Section | dict)
    }


def diff(old: AnySpec, new: AnySpec) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of every key in which two specs differ, by dotted name.

    The keys stand in the order of the new spec, then those that only the old one has. A key that one of the two does
    not have, as with specs of two kinds or a term of the reward in one of them, is null there.
    """
    before, after = flatten(old), flatten(new)
    return {
        key: (before.get(key), after.get(key))
        for key in dict.fromkeys((*after, *before))
        if before.get(key) != after.get(key)
    }


def spec_hash(spec: AnySpec) -> str:
    """Return a SHA-256 in hex over what the spec computes: equal hashes, the same computation.

    All keys count but name and note, which are for people, and placement: how many ranks share the work is the
    hostfile's matter as much, and the result does not depend on it but for rounding. Keys that only change what is
    recorded (`log_every`) count: they change what the run leaves behind. Paths count as they are written.

    Only keys that are not at their default go in, so the hash stays the same when a later version adds a key with a
    default. When a later version changes a default, it raises HASH_VERSION, and all hashes change.
    """
    content = {"version": HASH_VERSION, "kind": str(spec.kind), "spec": _set_keys(spec, leave_out=_NOT_COMPUTED)}
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _set_keys(section: Section, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value, default = getattr(section, name), field.get_default(call_default_factory=True)
        if name in leave_out:
            continue
        if isinstance(value, Section):
            keys = _set_keys(value)
            if keys or not isinstance(default, Section):
                found[name] = keys
        elif isinstance(value, dict):
            found[name] = {entry: _set_keys(within) for entry, within in value.items()}
        elif value != default:
            found[name] = value
    return found
