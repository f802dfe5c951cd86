"""Which experiments a filter leaves."""

from __future__ import annotations

import difflib
import fnmatch
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.store.filtering.keys import BEST, BY_NAME, LAST, SPEC, Key, Sort
from engine.store.filtering.language import (
    FLAGS,
    AllOf,
    Condition,
    Has,
    InvalidFilter,
    Node,
    Not,
    OneOf,
    Word,
    conditions,
    parse,
)
from engine.telemetry.directions import direction_of
from engine.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

Values = Mapping[str, Any]  # of a spec, by dotted key
_Keys = dict[str, list[str]]  # of specs, by the name that a filter uses
_Holds = Callable[["Experiment", Values, float], bool]
_NOTHING: Values = {}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ":": lambda have, asked: have == asked,
    "=": lambda have, asked: have == asked,
    "!=": lambda have, asked: have != asked,
    "<": lambda have, asked: have < asked,
    "<=": lambda have, asked: have <= asked,
    ">": lambda have, asked: have > asked,
    ">=": lambda have, asked: have >= asked,
}


class Filter:
    """A filter, ready to be asked. Reading it costs some microseconds, asking it about one a term and experiment."""

    def __init__(self, text: str) -> None:
        """Raises InvalidFilter."""
        self.text = text
        self._tree = parse(text)
        self._conditions = tuple(conditions(self._tree))

    @property
    def uses_specs(self) -> bool:
        """Whether it asks for values of specs, which `select` then needs."""
        return any(test.key.startswith(SPEC) for test in self._conditions)

    @property
    def tells_archived(self) -> bool:
        """Whether it says itself if archived experiments are meant."""
        return any(test.key == "archived" for test in self._conditions)

    def select(
        self, experiments: Sequence[Experiment], specs: Mapping[str, Values] = _NOTHING, *, now: float | None = None
    ) -> Sequence[Experiment]:
        """Return those for which it holds, in their order.

        experiments: with the best values of `keys.best_metrics`. specs: the values of their specs, by id. now: seconds
        since the epoch.

        Raises InvalidFilter for a key of the spec, or a metric, that none of them has and nobody knows.
        """
        moment = time.time() if now is None else now
        holds = _compiled(self._tree, self._keys(experiments, specs))
        return [one for one in experiments if holds(one, specs.get(one.id, _NOTHING), moment)]

    def _keys(self, experiments: Sequence[Experiment], specs: Mapping[str, Values]) -> _Keys:
        """Return the keys of specs that each name means: the one of that name, or those that end in it."""
        known = sorted(set().union(*specs.values())) if self.uses_specs else []
        found: _Keys = {}
        for one in self._conditions:
            if one.key.startswith(SPEC):
                name = one.key.removeprefix(SPEC)
                found[name] = [name] if name in known else [key for key in known if key.endswith(f".{name}")]
                if specs and not found[name]:
                    raise _unknown(one, "no spec has the key", name, known)
            elif one.key.startswith((LAST, BEST)) and experiments:
                name = one.key.partition(".")[2]
                if name not in METRICS and not any(name in each.last for each in experiments):
                    metrics = dict.fromkeys(metric for each in experiments for metric in each.last)
                    raise _unknown(one, "there is no metric", name, metrics)
                if one.key.startswith(BEST) and not direction_of(name):
                    told = f"whether more or less of {name} is better is not known."
                    raise InvalidFilter(told, one.start, one.end, hint=f"Ask for {LAST}{name}.")
        return found


def select(
    experiments: Sequence[Experiment], text: str, specs: Mapping[str, Values] = _NOTHING, *, now: float | None = None
) -> Sequence[Experiment]:
    """Return those for which the filter of this text holds; see `Filter`. Raises InvalidFilter."""
    return Filter(text).select(experiments, specs, now=now) if text.strip() else experiments


def _unknown(test: Condition | Has, sentence: str, name: str, known: Iterable[str]) -> InvalidFilter:
    # A key may be named by its end, so the ends of the known ones are near ones, too.
    ends = {key.split(".", cut)[-1]: key for key in known for cut in range(key.count("."), -1, -1)}
    near = difflib.get_close_matches(name, ends, n=1)
    hint = f"Did you mean {ends[near[0]]}?" if near else None
    return InvalidFilter(f"{sentence} {name}.", test.start, test.end, hint=hint)


def _compiled(node: Node, keys: _Keys) -> _Holds:
    if isinstance(node, Word):
        return _word(node.text.lower())
    if isinstance(node, Not):
        inner = _compiled(node.of, keys)
        return lambda one, spec, now: not inner(one, spec, now)
    if isinstance(node, AllOf):
        every = [_compiled(part, keys) for part in node.of]
        return lambda one, spec, now: all(holds(one, spec, now) for holds in every)
    if isinstance(node, OneOf):
        some = [_compiled(part, keys) for part in node.of]
        return lambda one, spec, now: any(holds(one, spec, now) for holds in some)
    if node.key.startswith(SPEC):
        return _of_spec(node, keys[node.key.removeprefix(SPEC)])
    if node.key.startswith((LAST, BEST)):
        return _of_metric(node)
    assert isinstance(node, Condition)
    return _of_key(node, BY_NAME[node.key])


def _word(text: str) -> _Holds:
    def holds(one: Experiment, spec: Values, now: float) -> bool:
        places = (one.id, one.name, one.kind, one.state.value, one.note or "", *one.tags)
        return any(text in place.lower() for place in places)

    return holds


def _of_key(test: Condition, key: Key) -> _Holds:
    read = key.read
    if key.sort is Sort.FLAG:
        wanted = bool(test.value) == (test.operator != "!=")
        return lambda one, spec, now: bool(read(one, now)) == wanted
    if key.sort in (Sort.NUMBER, Sort.SPAN):
        compare, asked = _COMPARE[test.operator], float(test.value)
        return lambda one, spec, now: (have := read(one, now)) is not None and compare(have, asked)
    matches = _matcher(str(test.value), {Sort.TEXT: "~", Sort.WORD: "^"}.get(key.sort, "="), test.operator)
    wanted = test.operator != "!="
    return lambda one, spec, now: any(matches(text) for text in read(one, now)) == wanted


def _matcher(value: str, by_colon: str, operator: str) -> Callable[[str], bool]:
    """Return how a text is held against a value: ~ inside, ^ at the beginning, = whole, with * for anything."""
    asked = value.lower()
    how = by_colon if operator == ":" else "~" if operator == "~" else "="
    if how == "~":
        return lambda text: asked in text.lower()
    if how == "^":
        return lambda text: text.lower().startswith(asked)
    if "*" in asked:
        pattern = asked.replace("[", "[[]")
        return lambda text: fnmatch.fnmatchcase(text.lower(), pattern)
    return lambda text: text.lower() == asked


def _of_metric(test: Condition | Has) -> _Holds:
    name, is_best = test.key.partition(".")[2], test.key.startswith(BEST)

    def value(one: Experiment) -> float | None:
        return (one.best if is_best else one.last).get(name)

    if isinstance(test, Has):
        return lambda one, spec, now: value(one) is not None
    compare, asked = _COMPARE[test.operator], float(test.value)
    return lambda one, spec, now: (have := value(one)) is not None and compare(have, asked)


def _of_spec(asked: Condition | Has, keys: Sequence[str]) -> _Holds:
    if isinstance(asked, Has):
        return lambda one, spec, now: any(spec.get(key) is not None for key in keys)
    holds = _spec_value(asked)
    return lambda one, spec, now: any(key in spec and holds(spec[key]) for key in keys)


def _spec_value(test: Condition) -> Callable[[Any], bool]:
    asked = _as_number(str(test.value))
    compare = _COMPARE.get(test.operator)
    matches = _matcher(str(test.value), "=", test.operator)
    truth = FLAGS.get(str(test.value).lower())
    ordered = test.operator in ("<", "<=", ">", ">=")

    def holds(have: Any) -> bool:
        if isinstance(have, list):
            return any(holds(item) for item in have)
        if isinstance(have, bool):
            return not ordered and (have is truth) == (test.operator != "!=")
        if isinstance(have, int | float) and asked is not None and compare is not None:
            return compare(have, asked)
        return not ordered and matches(_written(have)) == (test.operator != "!=")

    return holds


def _written(value: Any) -> str:
    """Return a value of a spec as one writes it."""
    return "none" if value is None else str(value)


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value
