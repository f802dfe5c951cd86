"""Texts as a model takes them: in batches of like lengths, as tensors of tokens. Needs a loaded model, and torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.embedding.calibration import Calibration
from engine.rag.embedding.length_batches import batches, slabs

UNSLICED = 32  # texts of a batch, where a model's first module gives no table of tokens
_SURROGATES = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A batch, not yet embedded."""

    rows: NDArray[np.int64]  # numbers of its texts
    features: dict[str, Any]  # what the model's first module takes, on the CPU
    tokens: int  # without padding; 0 where the model has none


def tokenised(
    model: Any,
    texts: Sequence[str],
    done: NDArray[np.bool_] | None,
    *,
    prompt: str,
    task: str,
    calibration: Calibration,
) -> Iterator[list[Inputs]]:
    """Yield the texts that are not `done`, longest first, in lists of batches: what was tokenised together.

    What is in which batch depends on texts, model and calibration alone, and not on what is done.

    Raises:
        InvalidInput: if a text is blank.
    """
    texts = [_unblank(text, number) for number, text in enumerate(texts)]
    for slab in slabs(texts):
        if done is None or not done[slab].all():
            yield _slab(model, texts, np.asarray(slab), done, prompt=prompt, task=task, calibration=calibration)


def _slab(
    model: Any,
    texts: Sequence[str],
    slab: NDArray[np.int64],
    done: NDArray[np.bool_] | None,
    *,
    prompt: str,
    task: str,
    calibration: Calibration,
) -> list[Inputs]:
    features = _features(model, [texts[number] for number in slab], prompt, task)
    widths = _widths(features, len(slab))
    if widths is None:
        order = np.arange(len(slab))
        groups = batches([1] * len(slab), 0, calibration.batch_size or UNSLICED)
    else:
        order = np.argsort(-widths, kind="stable")
        groups = batches(widths[order].tolist(), calibration.batch_tokens, calibration.batch_size)
    made = []
    for group in groups:
        members = order[group.start : group.stop]
        if done is not None:
            members = members[~done[slab[members]]]
        if not len(members):
            continue
        if widths is None:
            part, tokens = _features(model, [texts[number] for number in slab[members]], prompt, task), 0
        else:
            part, tokens = _part(features, members, int(widths[members].max())), int(widths[members].sum())
        made.append(Inputs(slab[members], _pinned(part) if model.device.type == "cuda" else part, tokens))
    return made


def readable(text: str) -> str:
    """Return a text as a tokenizer takes it: a lone surrogate becomes U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _unblank(text: str, number: int) -> str:
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidInput(f"text {number} is blank, and every query would find it.")
    return readable(text)


def _features(model: Any, texts: list[str], prompt: str, task: str) -> dict[str, Any]:
    """Return what the model's first module takes of some texts."""
    import torch

    first = model[0]
    plain = (
        getattr(first, "transformer_task", None) == "feature-extraction"
        and getattr(first, "query_expansion", None) is None
        and "message" not in getattr(first, "modality_config", ("message",))
    )
    if not plain:
        return dict(model.preprocess(texts, prompt=prompt, task=task))
    # numpy makes an array of lists in a fifth of the time that torch takes, all of which blocks other threads.
    arrays = {"common": {"return_tensors": "np"}}
    found = model.preprocess(texts, prompt=prompt, task=task, processing_kwargs=arrays)
    return {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in found.items()}


def _widths(features: dict[str, Any], count: int) -> NDArray[np.int64] | None:
    """Return the tokens of each text; None if the features are no table of texts and tokens."""
    mask = features.get("attention_mask")
    tensors = [value for value in features.values() if hasattr(value, "shape")]
    if mask is None or any(tuple(tensor.shape) != (count, mask.shape[1]) for tensor in tensors):
        return None
    return np.asarray(mask.sum(dim=1).numpy(), dtype=np.int64)


def _part(features: dict[str, Any], members: NDArray[np.int64], width: int) -> dict[str, Any]:
    """Return the features of some texts, without the columns that are padding for all of them."""
    import torch

    mask = features["attention_mask"]
    columns = slice(0, width) if bool(mask[:, 0].all()) else slice(mask.shape[1] - width, None)  # or padded on the left
    rows = torch.from_numpy(members)
    return {key: value[rows, columns] if hasattr(value, "shape") else value for key, value in features.items()}


def _pinned(features: dict[str, Any]) -> dict[str, Any]:
    """Return features in memory from which a GPU fetches without stopping for it."""
    return {key: value.pin_memory() if hasattr(value, "shape") else value for key, value in features.items()}
