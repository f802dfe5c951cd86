"""Tokenised preference pairs, as a reward model reads them."""

from __future__ import annotations

import itertools
import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.conversations import Conversation, Message, Split
from engine.data.examples import batched
from engine.data.preferences import Preference, read_preferences
from engine.data.sources import BrokenRows
from engine.data.templates import apply_template
from engine.spec.models import PreferenceData

_log = logging.getLogger(__name__)

# Pairs that are tokenised in one call.
_BATCH = 512


@dataclass(frozen=True, slots=True)
class TokenisedPair:
    """Two answers to a prompt. Both sequences end with the end-of-sequence token, where the score is read."""

    chosen: Sequence[int]
    rejected: Sequence[int]
    preference: Preference


def load_pairs(data: PreferenceData, tokenizer: Any, split: Split, limit: int | None = None) -> list[TokenisedPair]:
    """Return the pairs of a split, in the order of their rows; those of the first `limit` usable ones if it is given.

    Pairs with a sequence longer than `data.max_length` are left out, counted and told: cut, it would have no
    end-of-sequence token, and its score would be read elsewhere. The tokenizer has a chat template (`set_template`).

    Raises:
        InvalidInput: if a row is broken (see `BrokenRows`), or the chat template does not fit.
    """
    broken = BrokenRows(data.on_broken_row)
    pairs: list[TokenisedPair] = []
    usable = 0
    for batch in batched(itertools.islice(read_preferences(data, split, broken), limit), _BATCH):
        usable += len(batch)
        answers = [answer for preference in batch for answer in (preference.chosen, preference.rejected)]
        prompts = [preference for preference in batch for _ in range(2)]
        ids = _sequences(prompts, answers, tokenizer)
        for index, preference in enumerate(batch):
            chosen, rejected = ids[2 * index], ids[2 * index + 1]
            if max(len(chosen), len(rejected)) <= data.max_length:
                pairs.append(TokenisedPair(chosen, rejected, preference))
    broken.report(usable)
    if len(pairs) < usable:
        _log.warning(
            "warning: %s: %d of %d pairs are longer than max_length %d and are left out.",
            data.eval if split == "eval" and data.eval is not None else data.train,
            usable - len(pairs),
            usable,
            data.max_length,
        )
    return pairs


def _sequences(preferences: Sequence[Preference], answers: Sequence[str], tokenizer: Any) -> list[Sequence[int]]:
    conversations = [
        Conversation((Message("user", preference.prompt), Message("assistant", answer)), preference.place)
        for preference, answer in zip(preferences, answers, strict=True)
    ]
    return [_ended(ids, mask, tokenizer.eos_token_id) for ids, mask in apply_template(conversations, tokenizer)]


def _ended(ids: Sequence[int], mask: Sequence[bool], eos: int) -> Sequence[int]:
    """Return the sequence up to its answer's end-of-sequence token, which is added if the template writes none.

    What a template writes after it, such as a line break, no policy ever writes.
    """
    end = next((index + 1 for index in range(len(ids) - 1, -1, -1) if mask[index]), len(ids))
    sequence = array("i", ids[:end])
    if sequence[-1] != eos:
        sequence.append(eos)
    return sequence
