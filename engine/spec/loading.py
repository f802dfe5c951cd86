"""From a file, or its text, to a valid spec; or to one sentence that says what is wrong, where, and what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from engine.errors import InvalidInput
from engine.spec.document import LARGEST_TEXT, Document, KeyPath, dotted, flow, short, shown
from engine.spec.fields import Section
from engine.spec.keys import Key, key_at, keys_below, keys_of, listing, nearest, section_at
from engine.spec.models import SPEC_TYPES, AnySpec, Kind

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Checked = TypeVar("Checked", bound=Section)

_MOST_TOLD = 20  # faults of one file
_OF_A_NAME = "[key]"  # where pydantic places what is wrong with the name of an entry


def load_spec(path: Path, overrides: Sequence[str] = ()) -> AnySpec:
    """Return the spec in a file.

    Args:
        path: a YAML file in UTF-8.
        overrides: KEY=VALUE settings over it, later ones over earlier ones; the value is YAML.

    Raises:
        InvalidInput: see `parse_spec`; also when the file cannot be read.
    """
    return _overridden(read_document(path), overrides)


def read_document(path: Path) -> Document:
    """Return what a YAML file says. Raises InvalidInput when it cannot be read, or is no mapping of keys."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
    except FileNotFoundError:
        raise InvalidInput("there is no such file.", where=str(path)) from None
    except IsADirectoryError:
        raise InvalidInput("is a folder, not a spec file.", where=str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"cannot be read: {reason}.", where=str(path)) from error
    if len(content) > LARGEST_TEXT:
        raise InvalidInput(f"is larger than {LARGEST_TEXT // 1024} KiB; no spec is.", where=str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput("is not text in UTF-8.", where=f"{path}:{line}") from None
    return Document.read(text, str(path))


def parse_spec(text: str, source: str = "spec", overrides: Sequence[str] = ()) -> AnySpec:
    """Return the spec that a YAML text says.

    Args:
        text: YAML.
        source: what errors call it.
        overrides: KEY=VALUE settings over it, later ones over earlier ones; the value is YAML.

    Raises:
        InvalidInput: with the place of the first fault, and all faults in the message, one a line.
    """
    return _overridden(Document.read(text, source), overrides)


def empty_document(kind: str) -> Document:
    """Return a spec of which nothing is said but its kind; the sections that it must have are there, empty.

    Raises:
        InvalidInput: if there is no such kind.
    """
    where = f"--kind {short(kind)}"
    if kind not in list(Kind):
        raise unknown_kind(kind, where)
    keys = keys_of(SPEC_TYPES[Kind(kind)])
    given: dict[str, Any] = {"kind": kind}
    given |= {name: {} for name, key in keys.items() if key.required and key.section is not None}
    return Document(given, dict.fromkeys([(), *((name,) for name in given)], where))


def spec_of_kind(kind: str, overrides: Sequence[str]) -> AnySpec:
    """Return the spec of this kind that KEY=VALUE settings alone make. Raises InvalidInput as `parse_spec` does."""
    return _overridden(empty_document(kind), overrides)


def _overridden(document: Document, overrides: Sequence[str]) -> AnySpec:
    for setting in overrides:
        document.override(setting)
    return validate(document)


def validate(document: Document) -> AnySpec:
    """Return the spec of a document. Raises InvalidInput as `parse_spec` does."""
    return checked(document, SPEC_TYPES[kind_of(document)])


def faults_of(document: Document) -> tuple[AnySpec | None, Sequence[Fault]]:
    """Return the spec of a document, or, where it is none, what is wrong with it.

    Raises:
        InvalidInput: if it does not say of which kind it is.
    """
    spec_type = SPEC_TYPES[kind_of(document)]
    try:
        return spec_type.model_validate(document.values), ()
    except ValidationError as error:
        return None, _faults(error, spec_type, document)[0]


def checked(document: Document, section: type[Checked]) -> Checked:
    """Return a document as a section of this type. Raises InvalidInput as `parse_spec` does."""
    try:
        return section.model_validate(document.values)
    except ValidationError as error:
        faults, more = _faults(error, section, document)
    first, *others = faults
    if not others:
        raise InvalidInput(first.message, hint=first.hint, where=first.where)
    lines = [first.sentences, *(f"{fault.where}: {fault.sentences}" for fault in others)]
    raise InvalidInput("\n".join(lines + ([f"There are {more} more faults."] if more else [])), where=first.where)


def unknown_kind(word: object, where: str | None = None) -> InvalidInput:
    """Return what to say about a word that is no kind."""
    meant = nearest(str(word), {kind: keys_of(SPEC_TYPES[kind])["kind"].description for kind in Kind})
    hint = f"Did you mean {meant}?" if meant else None
    return InvalidInput(f"there is no kind {shown(word)}; it must be {listing(list(Kind))}.", hint=hint, where=where)


def kind_of(document: Document) -> Kind:
    """Return the kind of experiment that a document says it is. Raises InvalidInput if it says none that there is."""
    where = document.places[document.placed(("kind",))]
    word = document.values.get("kind")
    if word is None and is_pipeline(document):
        hint = "engine launch runs it; each of its stages has a spec."
        raise InvalidInput("is a pipeline of several experiments, not the spec of one.", hint=hint, where=where)
    if word is None:
        what = f"kind is missing; it must be {listing(list(Kind))}."
        raise InvalidInput(what, hint="Add kind: sft, for example.", where=where)
    if isinstance(word, str) and word in list(Kind):
        return Kind(word)
    raise unknown_kind(word, where)


def is_pipeline(document: Document) -> bool:
    """Whether a document is a pipeline (`engine.spec.pipeline`), or was meant as one, and is no spec."""
    return "kind" not in document.values and not {"pipeline", "stages"}.isdisjoint(document.values)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a spec."""

    key: str  # in dots; of what is wrong between several keys, the section, or the one that was set last
    where: str  # FILE:LINE, or the setting
    message: str
    hint: str | None

    @property
    def sentences(self) -> str:
        """What is wrong, and what to do about it."""
        return f"{self.message} {self.hint}" if self.hint else self.message


def _faults(error: ValidationError, spec_type: type[Section], document: Document) -> tuple[list[Fault], int]:
    """Return the faults in the order of the file, then of the overrides; and how many more there are than are told."""
    order = {path: rank for rank, path in enumerate(document.places)}
    found = [(_place(fault, document), fault) for fault in error.errors(include_url=False)]
    found.sort(key=lambda placed: order[placed[0]])
    unknown = [fault["loc"] for _, fault in found[:_MOST_TOLD] if fault["type"] == "extra_forbidden"]
    meant = {(*path[:-1], _nearest_key(path, spec_type)) for path in unknown}
    faults = [
        Fault(_key(place, fault), document.places[place], *_sentences(fault, spec_type))
        for place, fault in found[:_MOST_TOLD]
        if not (fault["type"] == "missing" and fault["loc"] in meant)  # it is there, misspelt
    ]
    return faults, len(found[_MOST_TOLD:])


def _place(fault: ErrorDetails, document: Document) -> KeyPath:
    """Return the key whose place is told. What is wrong between two keys began with the override of one."""
    overridden = document.last_override_in(fault["loc"]) if fault["type"] == "value_error" else None
    return overridden or document.placed(fault["loc"])


def _key(place: KeyPath, fault: ErrorDetails) -> str:
    return dotted(place if fault["type"] == "value_error" else fault["loc"])


def _sentences(fault: ErrorDetails, spec_type: type[Section]) -> tuple[str, str | None]:
    """Return what is wrong, and a hint."""
    path, value = fault["loc"], fault["input"]
    if path[-1:] == (_OF_A_NAME,):
        return _sentence_on_a_name(path[:-1], spec_type), None
    name, key = dotted(path), key_at(spec_type, path)
    if fault["type"] == "extra_forbidden":
        return f"there is no key {name}.", _hint(path, spec_type)
    if fault["type"] == "value_error":
        return f"{name or 'the spec'} {fault['ctx']['error']}.", None
    if key is None:
        return f"{name}: {fault['msg']}.", None
    if fault["type"] == "missing":
        needs = [below for below, its in keys_of(key.section).items() if its.required] if key.section else []
        what = f" ({', '.join(f'{name}.{below}' for below in needs)})" if needs else ""
        example = f" {_example(name, key)}" if key.entries else ""
        return f"{name} is missing.", f"Add {name}: {key.description}{what}.{example}"
    hint = None
    within = key_at(spec_type, path[:-1])
    if fault["type"] == "string_type" and isinstance(value, bool | int | float):
        hint = "Put it in quotes if it is meant as text."
    elif isinstance(value, str) and (choice := nearest(value, dict.fromkeys(key.choices, ""))):
        hint = f"Did you mean {choice}?"
    elif within and within.entries and path[-1] in keys_of(within.entries):
        hint = f"Did you mean {dotted(path[:-1])}.NAME.{path[-1]}?"
    elif key.entries:
        hint = _example(name, key)
    elif within and within.entries:
        hint = _example(dotted(path[:-1]), within)
    if fault["type"] == "less_than_equal":
        at_most = f"at most {fault['ctx']['le']}".removesuffix(".0")
        return f"{name} must be {at_most}; it is {shown(value)}.", hint
    list_name = dotted(path[:-1]) if isinstance(path[-1], int) else None
    return f"{list_name or name} must be {key.allowed}; {name if list_name else 'it'} is {shown(value)}.", hint


def _example(name: str, key: Key) -> str | None:
    return None if key.example is None else f"For example: {name}={flow(key.example)}."


def _sentence_on_a_name(path: KeyPath, spec_type: type[Section]) -> str:
    around = key_at(spec_type, path[:-1])
    names = around.entry_names if around is not None else "other"
    return f"{shown(path[-1])} is no name in {dotted(path[:-1])}; it must be {names}."


def _nearest_key(path: KeyPath, spec_type: type[Section]) -> str | None:
    keys = keys_of(section_at(spec_type, path[:-1]))
    return nearest(str(path[-1]), {name: key.description for name, key in keys.items()})


def _hint(path: KeyPath, spec_type: type[Section]) -> str:
    """Return which key was most likely meant, or all there are.

    The same word in another section comes first, then a near word in the section, then one in a section of the section.
    """
    around, word = path[:-1], str(path[-1])
    below = dict(keys_below(section_at(spec_type, around), "".join(f"{part}." for part in around)))
    everywhere = [*below, *(name for name, _ in keys_below(spec_type))]
    same = next((name for name in everywhere if name.rpartition(".")[2] == word), None)
    if meant := same or _nearest_key(path, spec_type):
        return f"Did you mean {meant}?"
    leaves = {name.rpartition(".")[2]: name for name in reversed(below)}
    if leaf := nearest(word, {leaf: below[name].description for leaf, name in leaves.items()}):
        return f"Did you mean {leaves[leaf]}?"
    return f"The keys of {dotted(around) or 'the spec'} are {', '.join(keys_of(section_at(spec_type, around)))}."
