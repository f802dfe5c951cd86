"""The fields of a form, made from the types of a spec: one for each key, with the value that it has now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from engine.spec.fields import Section
from engine.spec.keys import Key, entry_of, keys_of

MISSING = object()  # in place of the value of a required key that is not given
_LAST = ("placement", "supervision", "seed", "note")  # of the top: what every kind has
_LEFT_OUT = ("kind", "name")  # of the top: the kind is what the form is for, the name is asked for with the launch


class Shape(StrEnum):
    """How a value is edited."""

    NUMBER = "number"
    TRUTH = "truth"
    CHOICE = "choice"
    PATH = "path"
    TEXT = "text"
    LIST = "list"
    NAMES = "names"  # sections by name
    SECTION = "section"  # one that may be there or not
    HEADING = "heading"  # one that is always there


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the form."""

    key: str  # in dots, as --set takes it
    label: str
    depth: int
    shape: Shape
    description: str
    allowed: str = ""  # follows on "must be"
    choices: tuple[str, ...] = ()
    nullable: bool = False
    required: bool = False
    value: Any = None  # MISSING: it has none
    base: Any = None  # what it was to begin with
    note: str = ""  # beside a heading
    example: Any = None  # of what must be given

    @property
    def changed(self) -> bool:
        """Whether it is another value than to begin with."""
        return self.shape is not Shape.HEADING and _differ(self.value, self.base)

    @property
    def is_missing(self) -> bool:
        """Whether it must be given, and is not."""
        return self.required and self.value is MISSING

    @property
    def is_section(self) -> bool:
        """Whether fields of its own stand below it."""
        return self.shape is Shape.HEADING or (
            self.shape in (Shape.SECTION, Shape.NAMES) and isinstance(self.value, dict)
        )


def _differ(one: Any, other: Any) -> bool:
    return isinstance(one, bool) != isinstance(other, bool) or bool(one != other)


def complete(section: type[Section], given: Any) -> Any:
    """Return what a section says with its defaults; what is no section of keys stays as it is."""
    if not isinstance(given, dict):
        return given
    found: dict[str, Any] = {}
    for name, key in keys_of(section).items():
        found[name] = _completed(key, given[name] if name in given else _default(section, name))
    return found | {name: value for name, value in given.items() if name not in found}


def _completed(key: Key, value: Any) -> Any:
    if key.section is not None:
        return complete(key.section, {} if value is MISSING else value)
    if key.entries is not None and isinstance(value, dict):
        return {entry: complete(key.entries, within) for entry, within in value.items()}
    return value


def _default(section: type[Section], name: str) -> Any:
    field = section.model_fields[name]
    if field.is_required():
        return MISSING
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def fields_of(
    section: type[Section], now: Any, before: Any, prefix: str = "", depth: int = 0, *, is_top: bool = False
) -> Iterator[Field]:
    """Yield the fields of a section, those of the sections in it below their own.

    Args:
        section: its type.
        now, before: what `complete` returned for it.
        prefix: of the keys, with its dot.
        depth: how deep they stand.
        is_top: whether this is the whole spec.
    """
    keys = keys_of(section)
    names = [name for name in keys if name not in (*_LAST, *_LEFT_OUT)]
    for name in [*names, *(each for each in _LAST if each in keys)] if is_top else keys:
        key = keys[name]
        value, base = _of(now, name), _of(before, name)
        shape, nullable, choices = _shape(section, name)
        yield Field(
            key=prefix + name,
            label=name,
            depth=depth,
            shape=shape,
            description=key.description,
            allowed=key.allowed,
            choices=choices,
            nullable=nullable,
            required=key.required,
            value=value,
            base=base,
            example=key.example,
        )
        if key.section is not None and isinstance(value, dict):
            given = base if isinstance(base, dict) else complete(key.section, {})
            yield from fields_of(key.section, value, given, f"{prefix}{name}.", depth + 1)
        if key.entries is not None and isinstance(value, dict):
            yield from _entries(key.entries, value, base, f"{prefix}{name}.", depth + 1)


def _entries(entries: type[Section], now: Mapping[str, Any], before: Any, prefix: str, depth: int) -> Iterator[Field]:
    key = entry_of(entries)
    for name, value in now.items():
        yield Field(f"{prefix}{name}", name, depth, Shape.HEADING, key.description, value=value)
        base = _of(before, name)
        given = base if isinstance(base, dict) else complete(entries, {})
        yield from fields_of(entries, value, given, f"{prefix}{name}.", depth + 1)


def _of(section: Any, name: str) -> Any:
    return section.get(name, MISSING) if isinstance(section, dict) else MISSING


@cache
def _shape(section: type[Section], name: str) -> tuple[Shape, bool, tuple[str, ...]]:
    """Return how a key is edited, whether it may be null, and what there is to choose from."""
    key, schema = keys_of(section)[name], _properties(section)[name]
    options = [option for option in schema.get("anyOf", (schema,)) if option.get("type") != "null"]
    nullable = len(options) < len(schema.get("anyOf", ()))
    if key.entries is not None:
        return Shape.NAMES, nullable, ()
    if key.section is not None:
        return (Shape.SECTION if nullable else Shape.HEADING), nullable, ()
    only = options[0]
    if "enum" in only:
        return Shape.CHOICE, nullable, tuple(map(str, only["enum"]))
    if "path" in str(schema.get("allowed", only.get("allowed", ""))):
        return Shape.PATH, nullable, ()
    shapes = {"boolean": Shape.TRUTH, "integer": Shape.NUMBER, "number": Shape.NUMBER, "array": Shape.LIST}
    return shapes.get(str(only.get("type")), Shape.TEXT), nullable, ()


@cache
def _properties(section: type[Section]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = section.model_json_schema()["properties"]
    return found
