"""The grammar of filters: from a line of text to a tree, or one sentence with the place that is wrong.

    filter      = group { ("or" | "|") group }        terms side by side must all hold; "or" binds least
    group       = term { ["and"] term }
    term        = "-" term | "(" filter ")" | one { "|" one }
    one         = WORD | KEY OPERATOR VALUE | FAMILY.KEY      the last: it has such a value
    operator    = ":" "=" "!=" "<" "<=" ">" ">=" "~"

After "|" a key and its operator may be left out: `state:failed|lost`. Quotes keep spaces and signs in a value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.store.filtering.keys import BEST, BY_NAME, CFG, LAST, SPEC, Key, Sort, family

ORDERS = ("<", "<=", ">", ">=")
_OPERATORS = (":", "=", "!=", *ORDERS, "~")
_KEYED = re.compile(r"([^\W\d_][^\s:=!<>~|()\"']*)(!=|<=|>=|=|<|>|~|:)")
_NAME = re.compile(r"[^\s:=!<>~|()\"']+")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(w|d|h|m|s)?", re.ASCII)
_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "": 1.0}
FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_LIKE_ALL = SPEC, CFG, LAST, BEST
_NUMBERS = LAST, BEST


class InvalidFilter(InvalidInput):
    """What is wrong with a filter; `start` and `end` are the characters of the text that are meant, from 0."""

    def __init__(self, message: str, start: int, end: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, where=f"filter, character {start + 1}")
        self.start, self.end = start, end


@dataclass(frozen=True, slots=True)
class Word:
    """A text that stands in id, name, kind, state, a tag or the note."""

    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A key held against a value. `value` is a text, a number, seconds or a truth, as the key's sort says."""

    key: str  # those of families with their prefix
    operator: str
    value: str | float | bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Has:
    """A key of the spec or a metric that is there, and is not null."""

    key: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    of: Node


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of these; of none, true."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these at least."""

    of: tuple[Node, ...]


Node = Word | Condition | Has | Not | AllOf | OneOf


def parse(text: str) -> Node:
    """Return the tree of a filter; an empty one is true of everything. Raises InvalidFilter."""
    reader = _Reader(text)
    if reader.at_end():
        return AllOf(())
    tree = reader.alternatives()
    if not reader.at_end():
        raise InvalidFilter("this ) has no ( before it.", reader.place, reader.place + 1)
    return tree


def conditions(node: Node) -> Iterator[Condition | Has]:
    """Yield the tests of a tree, from left to right."""
    if isinstance(node, Condition | Has):
        yield node
    elif isinstance(node, Not):
        yield from conditions(node.of)
    elif isinstance(node, AllOf | OneOf):
        for one in node.of:
            yield from conditions(one)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def at_end(self) -> bool:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1
        return self.place == len(self.text)

    def alternatives(self) -> Node:
        found = [self._group()]
        while not self.at_end() and self._joiner("or", "|"):
            found.append(self._group())
        return found[0] if len(found) == 1 else OneOf(tuple(found))

    def _group(self) -> Node:
        found = [self._term()]
        while not self.at_end() and self.text[self.place] not in ")|" and not self._stands("or"):
            self._joiner("and")
            found.append(self._term())
        return found[0] if len(found) == 1 else AllOf(tuple(found))

    def _stands(self, word: str) -> bool:
        """Whether this word stands here by itself, without quotes."""
        end = self.place + len(word)
        return self.text[self.place : end].lower() == word and (end == len(self.text) or self.text[end] in " \t()")

    def _joiner(self, *words: str) -> bool:
        for word in words:
            if self._stands(word) or (word == "|" and self.text[self.place] == "|"):
                self.place += len(word)
                return True
        return False

    def _term(self) -> Node:
        if self.at_end() or self.text[self.place] in ")|" or self._stands("or") or self._stands("and"):
            raise InvalidFilter("a term is missing here.", min(self.place, len(self.text)), self.place + 1)
        start = self.place
        if self.text[start] == "-":
            self.place += 1
            if self.place == len(self.text) or self.text[self.place].isspace():
                raise InvalidFilter("- turns the term behind it round, and there is none.", start, start + 1)
            return Not(self._term())
        if self.text[start] == "(":
            self.place += 1
            inside = self.alternatives()
            if self.at_end():
                raise InvalidFilter("this ( is not closed.", start, start + 1)
            self.place += 1
            return inside
        return self._choices()

    def _choices(self) -> Node:
        one, before = self._one(None)
        found = [one]
        while self.place < len(self.text) - 1 and self.text[self.place] == "|" and not self._space_next():
            self.place += 1
            one, before = self._one(before)
            found.append(one)
        return found[0] if len(found) == 1 else OneOf(tuple(found))

    def _space_next(self) -> bool:
        return self.text[self.place + 1].isspace()

    def _one(self, before: tuple[str, str] | None) -> tuple[Node, tuple[str, str] | None]:
        """Return one alternative, and the key and operator that the next one takes over."""
        start = self.place
        keyed = _KEYED.match(self.text, start)
        if keyed is not None and (before is None or keyed[1].lower() in BY_NAME or family(keyed[1])):
            before = keyed[1], keyed[2]
            key = _named(keyed[1], start, keyed.end(1))
            self.place = keyed.end()
            return self._test(key, keyed[2], start), before
        if before is not None:
            return self._test(_named(before[0], start, start), before[1], start), before
        name = _NAME.match(self.text, start)
        if name is not None and family(name[0]) is not None and len(name[0]) > len(name[0].partition(".")[0]) + 1:
            self.place = name.end()
            prefix, rest = family(name[0]) or ("", "")
            return Has(prefix + rest, start, self.place), None
        return Word(self._value()), None

    def _test(self, key: Key | str, operator: str, start: int) -> Condition:
        place = self.place
        quoted = self.text[place : place + 1] in ('"', "'")
        raw = self._value()
        if not raw and not quoted:
            name = key if isinstance(key, str) else key.name
            raise InvalidFilter(f"{name}{operator} needs a value.", start, place)
        value = _checked(key, operator, raw, place, self.place)
        return Condition(key if isinstance(key, str) else key.name, operator, value, start, self.place)

    def _value(self) -> str:
        """Read up to a space, a | or the end of the group; what stands in quotes is taken as it is."""
        parts: list[str] = []
        depth = 0
        while self.place < len(self.text):
            char = self.text[self.place]
            if char in "\"'" and (char == '"' or not parts):
                end = self.text.find(char, self.place + 1)
                if end < 0:
                    raise InvalidFilter("this quote is not closed.", self.place, len(self.text))
                parts.append(self.text[self.place + 1 : end])
                self.place = end + 1
                continue
            depth += (char == "(") - (char == ")")
            if char.isspace() or char == "|" or depth < 0:
                break
            parts.append(char)
            self.place += 1
        return "".join(parts)


def _named(name: str, start: int, end: int) -> Key | str:
    of_family = family(name)
    if of_family is not None and of_family[1]:
        return "".join(of_family)
    key = BY_NAME.get(name.lower())
    if key is None:
        known = [*BY_NAME, *_LIKE_ALL]
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Keys: {', '.join(known)}. Quotes make it a word."
        raise InvalidFilter(f"there is no key {name}.", start, end, hint=hint)
    return key


def _checked(key: Key | str, operator: str, raw: str, start: int, end: int) -> str | float | bool:
    """Return the value as the key has it."""
    if isinstance(key, str):
        if key.startswith(_NUMBERS) and operator == "~":
            raise InvalidFilter(f"{key} is a number: use = != < <= > >=.", start - 1, start)
        return _number(raw, start, end) if operator in ORDERS or key.startswith(_NUMBERS) else raw
    if operator in ORDERS and key.sort not in (Sort.NUMBER, Sort.SPAN):
        raise InvalidFilter(f"{key.name} has no order: use : = != or ~.", start - len(operator), start)
    if operator == "~" and key.sort in (Sort.NUMBER, Sort.SPAN, Sort.FLAG):
        raise InvalidFilter(f"{key.name} is no text: use = != < <= > >=.", start - 1, start)
    if key.sort is Sort.NUMBER:
        return _number(raw, start, end)
    if key.sort is Sort.SPAN:
        return _seconds(raw, start, end)
    if key.sort is Sort.FLAG:
        if raw.lower() not in FLAGS:
            raise InvalidFilter(f"{key.name} is yes or no, not {raw}.", start, end)
        return FLAGS[raw.lower()]
    if key.sort is Sort.WORD and operator != "~" and not any(_begins(key, operator, raw)):
        near = difflib.get_close_matches(raw.lower(), key.values, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(key.values)}."
        raise InvalidFilter(f"there is no {key.name} {raw}.", start, end, hint=hint)
    return raw


def _begins(key: Key, operator: str, raw: str) -> Iterator[bool]:
    for value in key.values:
        yield value.startswith(raw.lower()) if operator == ":" else value == raw.lower()


def _number(raw: str, start: int, end: int) -> float:
    percent = raw.endswith("%")
    try:
        value = float(raw.removesuffix("%"))
    except ValueError:
        raise InvalidFilter(f"{raw} is no number.", start, end, hint="Numbers: 12, 0.5, 1e-6, 50%.") from None
    return value / 100 if percent else value


def _seconds(raw: str, start: int, end: int) -> float:
    parts = list(_SPAN.finditer(raw))
    if not parts or "".join(part[0] for part in parts) != raw:
        raise InvalidFilter(f"{raw} is no time.", start, end, hint="Times: 90s, 15m, 1h30m, 7d, 2w.")
    return sum(float(part[1]) * _SECONDS[part[2] or ""] for part in parts)
