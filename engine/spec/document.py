"""A YAML text as plain values, and the place of every key in it. Bounded: no text makes it slow or large."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import ReaderError

from engine.errors import InvalidInput

LARGEST_TEXT = 256 * 1024  # bytes
_DEEPEST = 16  # sections within sections
_MOST_VALUES = 10_000  # with every alias written out

KeyPath = tuple[str | int, ...]
Places = dict[KeyPath, str]

_TAG = "tag:yaml.org,2002:"
_NUMBERS = {_TAG + "null", _TAG + "bool", _TAG + "int", _TAG + "float"}
_TEXTS = {_TAG + "str", _TAG + "timestamp", _TAG + "value", _TAG + "merge"}  # a date is the text that stands there
_COLLECTIONS = {_TAG + "map", _TAG + "seq"}
_OVERRIDE = "--set "


@dataclass(frozen=True, slots=True)
class Document:
    """What a spec file says, before it is validated."""

    values: dict[str, Any]
    places: Places  # where each key was given: "FILE:LINE", or "--set KEY=VALUE"
    overridden: set[KeyPath] = field(default_factory=set)  # those that were set afterwards

    @classmethod
    def read(cls, text: str, source: str) -> Self:
        """Return what a YAML text says. Raises InvalidInput, with the line, where it is no mapping of keys."""
        values, places = _read(text, lambda line: f"{source}:{line}")
        if values is None:
            raise InvalidInput("is empty.", hint="engine new sft prints a complete spec.", where=source)
        if not isinstance(values, dict):
            hint = "A spec begins with kind: sft, for example."
            raise InvalidInput(f"is {shown(values)}, not a mapping of keys.", hint=hint, where=places[()])
        return cls(values, places)

    def override(self, setting: str, where: str | None = None) -> None:
        """Set one key. A section that is set is replaced; sections on the way to the key are made.

        Args:
            setting: KEY=VALUE, the key in dots, the value in YAML; no value is null.
            where: what errors call it; null: by what it says.

        Raises:
            InvalidInput: when it is not of this form, or leads through something that is no section.
        """
        where = where or set_option(setting)
        name, equals, text = setting.partition("=")
        path = tuple(name.strip().split("."))
        if not equals or not all(path):
            raise InvalidInput("is not KEY=VALUE.", hint="For example: --set train.lr=2e-6.", where=where)
        value, places = _read(text, lambda _line: where)
        self.put(path, value, places)

    def put(self, path: tuple[str, ...], value: Any, places: Places) -> None:
        """Set one key as `override` does. places: of the value, at the empty path, and of all that is in it.

        Raises:
            InvalidInput: when the path leads through something that is no section.
        """
        where = places[()]
        section = self.values
        for depth, part in enumerate(path[:-1], 1):
            if section.get(part) is None:
                section[part] = {}
                self.places[path[:depth]] = where
                self.overridden.add(path[:depth])
            if not isinstance(section[part], dict):
                is_value = f"{dotted(path[:depth])} is {shown(section[part])}, not a section of keys"
                raise InvalidInput(f"{is_value}, so {dotted(path)} cannot be set.", where=where)
            section = section[part]
        section[path[-1]] = value
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]
            self.overridden.discard(known)
        given = {(*path, *below): place for below, place in places.items()}
        self.places.update(given)
        self.overridden.update(given)

    def below(self, path: KeyPath) -> Document:
        """Return the mapping at a path as a document of its own, which may be changed without changing this one."""
        value: Any = self.values
        for part in path:
            value = value[part]
        return Document(copy.deepcopy(value), self.places_below(path))

    def places_below(self, path: KeyPath) -> Places:
        """Return the places of a key, at the empty path, and of all that is in it."""
        return {key[len(path) :]: place for key, place in self.places.items() if key[: len(path)] == path}

    def placed(self, path: KeyPath) -> KeyPath:
        """Return the key itself if it was given, or else the nearest section around it that was."""
        while path not in self.places:
            path = path[:-1]
        return path

    def last_override_in(self, path: KeyPath) -> KeyPath | None:
        """Return the key at or below a path that was overridden last, if any was."""
        overridden = (key for key in reversed(self.places) if key in self.overridden)
        return next((key for key in overridden if key[: len(path)] == path), None)


def set_option(setting: str) -> str:
    """Return what errors call a setting of the command line."""
    return _OVERRIDE + short(setting)


def dotted(path: KeyPath) -> str:
    """Return `train.schedule.kind` or `model.tokenizer.corpus[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{short(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def short(text: str, length: int = 80) -> str:
    """Return a text to show in a sentence: without control characters, and cut."""
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text if text.isprintable() else repr(text)[1:-1]


def shown(value: Any) -> str:
    """Return a value as a sentence names it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return ("a list" if isinstance(value, list) else "a section") if value else "empty"
    return f'"{short(value, 40)}"' if isinstance(value, str) else short(str(value), 40)


def flow(value: Any) -> str:
    """Return an example as YAML has it on one line: sections of keys, and text that needs no quotes."""
    return (
        "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
        if isinstance(value, dict)
        else str(value)
    )


def _read(text: str, place: Callable[[int], str]) -> tuple[Any, Places]:
    """Return the values of a text, and where each stands. place: names a line, counted from 1."""
    if len(text) > LARGEST_TEXT or len(text.encode("utf-8", "surrogatepass")) > LARGEST_TEXT:
        raise InvalidInput(f"is larger than {LARGEST_TEXT // 1024} KiB; no spec is.", where=place(1))
    try:
        node = _composed(text)
    except _TooDeepError as error:
        raise InvalidInput(f"is nested deeper than {_DEEPEST} levels.", where=place(_line(error.mark))) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"holds the character U+{ord(text[error.position]):04X}, which YAML does not allow."
        raise InvalidInput(what, where=place(line)) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(filter(None, (error.context, error.problem))).replace("'\\t'", "TAB")
        hint = "Indent with spaces, not tabs." if "TAB" in problem else None
        raise InvalidInput(f"is not valid YAML: {short(problem, 120)}.", hint=hint, where=place(_line(mark))) from None
    except (YAMLError, ValueError) as error:
        raise InvalidInput(f"is not valid YAML: {short(str(error), 120)}.", where=place(1)) from None
    reader = _Reader(place)
    if node is None:
        return None, {(): place(1)}
    reader.places[()] = place(_line(node.start_mark))
    return reader.value(node, ()), reader.places


def _line(mark: Any) -> int:
    return int(mark.line) + 1 if mark is not None else 1


class _TooDeepError(Exception):
    def __init__(self, mark: Any) -> None:
        self.mark = mark


class _BoundedParser(Parser):
    """Refuses deep nesting while it is read, before anything recurses into it."""

    _depth = 0

    def get_event(self) -> Any:
        event = super().get_event()
        self._depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if self._depth > _DEEPEST:
            raise _TooDeepError(event.start_mark)
        return event


def _composed(text: str) -> Node | None:
    """Return the root of a text; null of an empty one."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Parser = _BoundedParser
    yaml.composer.warn_double_anchors = False
    root: Node | None = yaml.compose(text)
    return root


class _Reader:
    """Turns YAML nodes into plain values."""

    def __init__(self, place: Callable[[int], str]) -> None:
        self.places: Places = {}
        self._place, self._left = place, _MOST_VALUES
        self._scalars = SafeConstructor(loader=YAML(typ="safe", pure=True))

    def value(self, node: Node, path: KeyPath) -> Any:
        where = self._place(_line(node.start_mark))
        self._left -= 1
        if self._left < 0 or len(path) > _DEEPEST:
            raise InvalidInput("holds too many values; no spec has as many.", where=where)
        if isinstance(node, ScalarNode) and node.tag in _TEXTS:
            return node.value
        if isinstance(node, ScalarNode) and node.tag in _NUMBERS:
            try:
                return self._scalars.construct_object(node)
            except (YAMLError, ValueError, LookupError):  # a tag on what is none: `!!int x`
                what = f"cannot be read as {node.tag.removeprefix(_TAG)}"
                raise InvalidInput(f"{shown(node.value)} {what}.", where=where) from None
        if isinstance(node, MappingNode) and node.tag in _COLLECTIONS:
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag in _COLLECTIONS:
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        raise InvalidInput(f"the tag {short(str(node.tag).replace(_TAG, '!!'))} has no place in a spec.", where=where)

    def _item(self, node: Node, path: KeyPath) -> Any:
        self.places[path] = self._place(_line(node.start_mark))
        return self.value(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            where = self._place(_line(key.start_mark))
            if not isinstance(key, ScalarNode):
                raise InvalidInput("a key must be a word.", where=where)
            below = (*path, key.value)
            if key.value in values:
                first = f"It stands at {self.places[below]} already."
                raise InvalidInput(f"{dotted(below)} is given twice.", hint=first, where=where)
            self.places[below] = where
            values[key.value] = self.value(value, below)
        return values
