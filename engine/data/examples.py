"""Tokenised training examples, with the tokens that carry loss."""

from __future__ import annotations

import itertools
import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.data.conversations import Conversation, Split, read_conversations
from engine.data.sources import BrokenRows
from engine.data.templates import Masked, apply_template
from engine.spec.sections import Data

_log = logging.getLogger(__name__)

# Conversations that are tokenised in one call.
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Example:
    """One example. `input_ids` and `loss_mask` have one entry per token."""

    input_ids: Sequence[int]
    loss_mask: Sequence[bool]  # whether the model learns to write this token
    prompt_length: int  # tokens before the last answer; 0 where nothing is answered
    place: str  # FILE:LINE


def load_examples(data: Data, tokenizer: Any, split: Split, limit: int | None = None) -> list[Example]:
    """Return the examples of a split, in the order of their rows; the first `limit` usable rows if it is given.

    Examples longer than `data.max_length` are cut there, and so have no end-of-sequence token. Those that then carry no
    loss are left out. Both are counted and told. The tokenizer has a chat template (`set_template`).

    Raises:
        InvalidInput: if a row is broken (see `BrokenRows`), or the chat template does not fit.
    """
    broken = BrokenRows(data.on_broken_row)
    conversations = itertools.islice(read_conversations(data, split, broken), limit)
    examples: list[Example] = []
    usable = truncated = 0
    for batch in batched(conversations, _BATCH):
        for conversation, (ids, mask) in zip(batch, _tokenise(batch, tokenizer), strict=True):
            usable += 1
            truncated += len(ids) > data.max_length
            example = _example(ids[: data.max_length], mask[: data.max_length], conversation, data.loss_on == "all")
            if any(example.loss_mask):
                examples.append(example)
    broken.report(usable)
    if truncated:
        place = data.eval if split == "eval" and data.eval is not None else data.train
        _log.warning(
            "warning: %s: %d of %d examples are cut at max_length %d; %d of them have no answer left and are left out.",
            place,
            truncated,
            usable,
            data.max_length,
            usable - len(examples),
        )
    return examples


_Item = TypeVar("_Item")


def batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield the items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _example(ids: Sequence[int], mask: Sequence[bool], conversation: Conversation, everything: bool) -> Example:
    prompt_length = 0 if conversation.text is not None else _last_answer(mask)
    # Nothing comes before the first token that could predict it.
    carries = (False, *((True,) * (len(ids) - 1) if everything else mask[1:]))
    return Example(array("i", ids), carries[: len(ids)], prompt_length, conversation.place)


def _last_answer(mask: Sequence[bool]) -> int:
    """Return where the last run of true entries begins, 0 if there is none."""
    start = len(mask)
    while start and not mask[start - 1]:
        start -= 1
    while start and mask[start - 1]:
        start -= 1
    return start


def _tokenise(batch: Sequence[Conversation], tokenizer: Any) -> Iterable[Masked]:
    if batch[0].text is None:
        return apply_template(batch, tokenizer)
    written = tokenizer([conversation.text for conversation in batch], return_attention_mask=False)["input_ids"]
    ended = (ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id] for ids in written)
    return [(ids, [True] * len(ids)) for ids in ended]
