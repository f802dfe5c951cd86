"""Filters on what documents say of themselves: `lang=en`, `year>=2010`, `source!=x`, `title~text`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.records import Scalar
from engine.spec.keys import nearest

# What documents have besides metadata. Metadata of such a name are reached as `metadata.NAME`.
OWN_KEYS = ("document", "source", "title")
_METADATA = "metadata."

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "~": lambda held, wanted: str(wanted).casefold() in str(held).casefold(),
}
_CONDITION = re.compile(r"\s*(?P<key>[^=!<>~]*?)\s*(?P<operator>!=|>=|<=|=|>|<|~)(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d{1,300}|\d{0,300}\.\d{1,300}|\d{1,300}\.)([eE][+-]?\d{1,9})?", re.ASCII)
_TRUTH = {"true": True, "false": False}


class Described(Protocol):
    """What a filter reads of a document; `engine.rag.records.Document` is one."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Scalar]: ...


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition.

    It compares by the type of what the document holds: a number with a number, a truth value with `true` or `false`, a
    text with a text. Texts are ordered as numbers where both are numbers, else letter by letter, so that ISO dates are
    in order. `~` finds a part of any of them, whatever its case.
    """

    key: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"

    def matches(self, document: Described) -> bool:
        """Whether a document meets the condition. One without the key meets none, `!=` included."""
        held = self._held(document)
        if held is None:
            return False
        if self.operator == "~":
            return _OPERATORS["~"](_shown(held), self.value)
        pair = self._pair(held)
        if pair is None:
            return self.operator == "!="
        return _OPERATORS[self.operator](*pair)

    def _held(self, document: Described) -> Scalar | None:
        if self.key == "document":
            return document.id
        if self.key == "source":
            return document.source
        if self.key == "title":
            return document.title
        return document.metadata.get(self.key.removeprefix(_METADATA))

    def _pair(self, held: Scalar) -> tuple[Any, Any] | None:
        """Return what is compared; None: the two are of types that cannot be."""
        ordered = self.operator not in ("=", "!=")
        if isinstance(held, bool):
            wanted = _TRUTH.get(self.value.casefold())
            return None if ordered or wanted is None else (held, wanted)
        number = _number(self.value)
        if not isinstance(held, str):
            return None if number is None else (held, number)
        if ordered and number is not None and (own := _number(held)) is not None:
            return own, number
        return held, self.value


def _number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def _shown(held: Scalar) -> str:
    return str(held).lower() if isinstance(held, bool) else str(held)


def parse_filter(text: str) -> Filter:
    """Return the filter that a text says: KEY OPERATOR VALUE, the operator one of = != > >= < <= ~.

    Spaces around the three do not count. A value that needs them, begins with an operator's sign, or is empty, stands
    in double quotes.

    Raises InvalidInput, with the character at which it stops making sense.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        wrong = text.find("!")  # the one sign that is no operator by itself
        position = (wrong if wrong >= 0 else len(text.rstrip())) + 1
        raise _unreadable(text, position, "there is no operator", "Write KEY=VALUE, as in lang=en.")
    key, sign, value = match["key"], match["operator"], match["value"].strip()
    if not key:
        raise _unreadable(text, match.start("operator") + 1, "there is no key before the operator", None)
    if value[:1] in ("=", "!", "<", ">", "~"):
        wrong = match.end("operator") + match["value"].index(value) + 1
        hint = f"Operators are {' '.join(_OPERATORS)}. A value that begins with {value[0]} stands in double quotes."
        raise _unreadable(text, wrong, f"there is no operator {sign}{value[0]}", hint)
    if not value:
        raise _unreadable(text, len(text) + 1, "there is no value", f'For an empty one, write {key}{sign}"".')
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return Filter(key, sign, value)


def _unreadable(text: str, position: int, what: str, hint: str | None) -> InvalidInput:
    return InvalidInput(f"filter {text!r} cannot be read: {what} at character {position}.", hint=hint)


def check_keys(filters: Iterable[Filter], known: Iterable[str]) -> None:
    """Refuse filters on a metadata key that no document has.

    Args:
        known: the metadata keys of all documents.

    Raises InvalidInput, with the nearest known key.
    """
    metadata = frozenset(known)
    everything = sorted(metadata.union(OWN_KEYS))
    for condition in filters:
        if condition.key in OWN_KEYS or condition.key.removeprefix(_METADATA) in metadata:
            continue
        near = nearest(condition.key, dict.fromkeys(everything, ""))
        raise InvalidInput(
            f"filter {str(condition)!r} names the key {condition.key!r} at character 1, which no document has.",
            hint=f"Did you mean {near}?" if near else f"Keys: {', '.join(everything)}.",
        )


def matching_rows(
    filters: Sequence[Filter], documents: Sequence[Described], document_of: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Return which chunks belong to documents that meet all filters, [rows].

    Args:
        document_of: [rows], the number of each chunk's document.
    """
    met = np.fromiter(
        (all(condition.matches(document) for condition in filters) for document in documents), np.bool_, len(documents)
    )
    return met[document_of]
