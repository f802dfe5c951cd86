"""What keys a section has: what each says, which values it allows, and which key a misspelt one may have meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Any, get_args, get_origin

from engine.spec.fields import LARGEST, Section

_NEAR = 0.65  # likeness from which a name is suggested; 1 is equal
_ENTRY = "NAME"  # stands for the name of any entry, which none may have: `rewards.NAME.weight`


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section."""

    description: str
    allowed: str  # "a whole number (at least 1) or null": follows on "must be"
    choices: tuple[str, ...]  # of a key that takes one of a few words or numbers
    section: type[Section] | None  # of a key that has keys of its own
    entries: type[Section] | None  # of a key that holds sections by name: what each of them is
    entry_names: str  # what these names may be: "at most 40 of a-z"
    required: bool
    example: Any  # of a required key; null: those of the keys in it


@cache
def keys_of(section: type[Section]) -> Mapping[str, Key]:
    """Return the keys of a section in their order."""
    schema = section.model_json_schema()
    found = {}
    for name, field in section.model_fields.items():
        own = schema["properties"][name]
        inner, by_name = _section_in(field.annotation), get_origin(field.annotation) is dict
        found[name] = Key(
            description=field.description or _first_line(section),
            allowed=_allowed(own),
            choices=tuple(str(choice) for choice in own.get("enum", ())),
            section=None if by_name else inner,
            entries=inner if by_name else None,
            entry_names=own.get("propertyNames", {}).get("allowed", "text"),
            required=field.is_required(),
            example=next(iter(field.examples or ()), None),
        )
    return found


def entry_of(entries: type[Section]) -> Key:
    """Return the key that each entry of a key with `entries` is."""
    return Key(
        description=_first_line(entries),
        allowed=_allowed({}),
        choices=(),
        section=entries,
        entries=None,
        entry_names="",
        required=False,
        example=None,
    )


def key_at(section: type[Section], path: Sequence[str | int]) -> Key | None:
    """Return the key at a path below the section, through entries of any name; for an item of a list, the list's."""
    key: Key | None = None
    within: type[Section] | None = section
    for part in path:
        if isinstance(part, int):
            return key
        if key is not None and key.entries is not None:
            key = entry_of(key.entries)
        else:
            key = keys_of(within).get(part) if within is not None else None
        if key is None:
            return None
        within = key.section
    return key


def section_at(section: type[Section], path: Sequence[str | int]) -> type[Section]:
    """Return the section at a path that leads to one."""
    key = key_at(section, path)
    return key.section if key is not None and key.section is not None else section


def keys_below(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Key]]:
    """Return every key with its dotted name, those of inner sections too, shallow ones first.

    NAME stands for the name of an entry: `rewards.NAME.weight`.
    """
    keys = keys_of(section)
    yield from ((prefix + name, key) for name, key in keys.items())
    for name, key in keys.items():
        if key.section is not None:
            yield from keys_below(key.section, f"{prefix}{name}.")
        if key.entries is not None:
            yield from keys_below(key.entries, f"{prefix}{name}.{_ENTRY}.")


def nearest(word: str, candidates: Mapping[str, str]) -> str | None:
    """Return the candidate that was most likely meant, if any is near.

    It may be near in letters (`batchsize`, `batch_size`), by its initials (`learning_rat`, `lr`), because one has all
    the words of the other (`num_train_epochs`, `epochs`), or because its description has the words (`gradient_norm`,
    "largest gradient norm").

    Args:
        word: what stands there.
        candidates: the description of each valid name.
    """
    best = max(candidates, key=lambda name: _likeness(word, name, candidates[name]), default=None)
    return best if best is not None and _likeness(word, best, candidates[best]) >= _NEAR else None


def _likeness(word: str, name: str, description: str) -> float:
    given, known, said = _words(word), _words(name), _words(description)
    if not given:
        return 0.0
    found = [_ratio("".join(given), "".join(known))]
    if set(known) <= set(given) or set(given) <= set(known):
        fewer, more = sorted((len(given), len(known)))
        found.append(0.7 + 0.2 * fewer / more)
    if len(given) > 1:  # one word alone stands in many descriptions
        found += [0.85] if "".join(part[0] for part in given) == name else []
        phrases = (" ".join(said[begin : begin + len(given)]) for begin in range(len(said) - len(given) + 1))
        found += [0.8 * _ratio(" ".join(given), phrase) for phrase in phrases]
    return max(found)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text[:100]).lower())


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _first_line(section: type[Section]) -> str:
    return (inspect.getdoc(section) or "").splitlines()[0].rstrip(".")


def _section_in(annotation: Any) -> type[Section] | None:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Section):
            return part
    return None


def _allowed(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows; `allowed` says it where a schema cannot."""
    if "anyOf" in schema:
        options = [_allowed(option) for option in schema["anyOf"] if option.get("type") != "null"]
        return f"{schema.get('allowed', listing(options))} or null"
    if "allowed" in schema:
        return str(schema["allowed"])
    if "enum" in schema:
        return listing([str(choice) for choice in schema["enum"]])
    if schema.get("patternProperties") or schema.get("additionalProperties"):
        return f"{'one or more ' if schema.get('minProperties') else ''}names, each with a section of keys"
    if schema.get("type") == "array":
        return f"a list, each item {_allowed(schema['items'])}"
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    return words.get(schema.get("type", ""), "a section of keys") + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    bounds = [f"{word} {schema[bound]:g}" for bound, word in words.items() if schema.get(bound, LARGEST) != LARGEST]
    return f" ({', '.join(bounds)})" if bounds else ""


def listing(words: Sequence[str], last: str = "or") -> str:
    """Return "a, b or c". last: the word before the last one."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
