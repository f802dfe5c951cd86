"""Open-book prompts: the passages that a policy reads, looked up once, before the first step."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from engine.data.answers import normalise
from engine.data.conversations import Split
from engine.data.prompts import Prompt, opened
from engine.errors import PlumblineError
from engine.generate.grounding import Evidence, GroundedPrompt, Grounding, grounded_prompts
from engine.job.runtime import Runtime
from engine.rag.records import Passage
from engine.rag.searching.search import Fusion, Mode
from engine.spec.fields import LARGEST
from engine.spec.ppo import PromptData, Retrieval


class Retriever(Protocol):
    """An open index."""

    def search(self, queries: Sequence[str], k: int, *, mode: Mode, fusion: Fusion) -> Sequence[Sequence[Passage]]:
        """Return the at most k best passages for each query, the best first."""


# Opens the index that is to be searched.
Opening = Callable[[Retrieval], Retriever]


def opened_index(retrieval: Retrieval) -> Retriever:
    """Return the index of a folder."""
    from engine.rag.opening import open_searcher

    return open_searcher(Path(retrieval.index), Path(retrieval.embedder) if retrieval.embedder is not None else None)


@dataclass(frozen=True, slots=True)
class OpenBook:
    """The prompts of a split, some of them with passages."""

    prompts: Sequence[Prompt]
    told: str  # a sentence on how many carry passages, and how many of these hold the answer


def open_book(
    prompts: Sequence[Prompt],
    data: PromptData,
    tokenizer: Any,
    *,
    split: Split,
    seed: int,
    ranks: Runtime,
    opening: Opening = opened_index,
) -> OpenBook:
    """Return the prompts of a split with the passages of `data.retrieval`. Called by all ranks together.

    Of the prompts to train on, as many carry passages as `share` says; which ones, their number and the seed decide, so
    it stays the same from epoch to epoch. Held-out prompts are asked both ways, next to each other, unless all or none
    are to carry passages. Passages come in by rank while they fit into `max_prompt_length`; a prompt for which nothing
    is found, or that has no room for any, is closed book.

    Rank 0 searches for all; what it finds travels, the index need not.

    Raises:
        InvalidInput: on every rank alike, if the index cannot be searched.
    """
    retrieval = data.retrieval
    assert retrieval is not None
    chosen = [
        prompt
        for number, prompt in enumerate(prompts)
        if _carries(retrieval, split, seed, number) and prompt.text.strip()
    ]
    found = ranks.from_main(_searched(chosen, retrieval, opening) if ranks.is_main else [])
    if isinstance(found, PlumblineError):
        raise found
    carrying = {prompt.place: prompt for prompt in _reading(chosen, found, data, retrieval, tokenizer)}
    both = split == "eval" and retrieval.share < 1.0
    asked: list[Prompt] = []
    for prompt in prompts:
        if both or prompt.place not in carrying:
            asked.append(prompt)
        if prompt.place in carrying:
            asked.append(carrying[prompt.place])
    return OpenBook(asked, _told(split, asked))


def _carries(retrieval: Retrieval, split: Split, seed: int, number: int) -> bool:
    if split == "eval":
        return retrieval.share > 0.0
    return random.Random(f"plumbline-passages-{seed}-{number}").random() < retrieval.share


def _searched(
    prompts: Sequence[Prompt], retrieval: Retrieval, opening: Opening
) -> list[list[Evidence]] | PlumblineError:
    if not prompts:
        return []
    try:
        index = opening(retrieval)
        texts = [prompt.text for prompt in prompts]
        found = index.search(texts, retrieval.passages, mode=retrieval.mode, fusion=retrieval.fusion)
    except PlumblineError as error:  # raised on every rank, so that none waits for another
        return error
    return [[Evidence(one.chunk.text, one.title, one.chunk.id) for one in passages] for passages in found]


def _reading(
    prompts: Sequence[Prompt],
    found: Sequence[Sequence[Evidence]],
    data: PromptData,
    retrieval: Retrieval,
    tokenizer: Any,
) -> Iterator[Prompt]:
    """Yield the prompts that have room for some of what was found, with it."""
    grounding = Grounding(style=retrieval.style)
    if data.abstentions:
        grounding = replace(grounding, abstention=data.abstentions[0])

    def written(numbers: Sequence[int], passages: Sequence[Any], room: int) -> list[GroundedPrompt]:
        asked, places = [prompts[number].text for number in numbers], [prompts[number].place for number in numbers]
        return grounded_prompts(asked, passages, tokenizer, grounding, longest_prompt=room, places=places)

    every = [number for number in range(len(prompts)) if found[number]]
    alone = written(every, [None] * len(every), LARGEST)
    instructed = written(every, [()] * len(every), LARGEST)
    by_room: dict[int, list[int]] = defaultdict(list)
    for number, bare, told in zip(every, alone, instructed, strict=True):
        # What was said before the question takes room as well.
        room = data.max_prompt_length - (len(prompts[number]) - len(bare.ids))
        if len(told.ids) <= room:
            by_room[room].append(number)
    for room, numbers in sorted(by_room.items()):
        given = [found[number] for number in numbers]
        pairs = [pair for pair in zip(numbers, written(numbers, given, room), strict=True) if pair[1].used]
        carrying = [
            replace(prompts[number], passages=tuple(_read(found[number][place], retrieval) for place in one.used))
            for number, one in pairs
        ]
        yield from opened(carrying, [one.messages[-1].content for _, one in pairs], tokenizer)


def _read(evidence: Evidence, retrieval: Retrieval) -> str:
    """Return what the policy reads of a passage: in a numbered one the title, too."""
    return evidence.text if retrieval.style == "plain" else evidence.premise


def _told(split: Split, prompts: Sequence[Prompt]) -> str:
    carrying = [prompt for prompt in prompts if prompt.passages]
    answered = [prompt for prompt in carrying if prompt.answers and prompt.answerable is not False]
    holding = sum(map(_holds_an_answer, answered))
    held = f"; of {len(answered)} with a known answer, {holding} have it in their passages" if answered else ""
    return f"{len(carrying)} of {len(prompts)} prompts ({split}) carry passages{held}."


def _holds_an_answer(prompt: Prompt) -> bool:
    text = f" {normalise(' '.join(prompt.passages))} "
    return any(f" {normalise(answer)} " in text for answer in prompt.answers)
