"""What experiments answered to the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.report.comparing.records import Answer, Prompted
from engine.report.comparing.saying import Said, Script, of_answers, of_samples, pairs, sides
from engine.report.files import answers_here
from engine.store.samples import list_samples

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment


def script(store: Store, one: Experiment) -> Script:
    """Return what an experiment wrote, by step: of an evaluation whose files are here all its answers."""
    rows = answers_here(store, one.id) if one.kind == "eval" else []
    return of_answers(rows, one.step) if rows else of_samples(list_samples(store, one.id))


def prompted(scripts: Sequence[Script]) -> list[Prompted]:
    """Return the prompts that the first one and another one were asked, those that became worse first.

    Of one experiment alone these are its first and its last answers. Of several each has its last ones.
    """
    places = range(1, len(scripts)) if len(scripts) > 1 else [0]
    found = [chosen for place in places if (chosen := sides(scripts, place)) is not None]
    if not found:
        return _alone(scripts[0]) if len(scripts) == 1 else []
    by_prompt: dict[str, list[Answer]] = {}
    worse = set[str]()
    for (one, first), (other, second) in found:
        for pair in pairs(scripts[one][first], scripts[other][second]):
            prompt = pair.left.key or pair.left.prompt
            by_prompt.setdefault(prompt, [Answer(one, first, pair.left)]).append(Answer(other, second, pair.right))
            worse |= {prompt} if pair.is_regression else set()
    told = [Prompted(tuple(answers), prompt in worse) for prompt, answers in by_prompt.items()]
    return sorted(told, key=lambda each: not each.is_regression)


def _alone(one: Script) -> list[Prompted]:
    return [Prompted((Answer(0, step, said),), False) for step, said in _last(one)]


def _last(one: Mapping[int, Sequence[Said]]) -> Iterator[tuple[int, Said]]:
    for step in list(one)[-1:]:
        yield from ((step, said) for said in one[step])
