"""Cross-encoders that read a premise and a claim together: natural language inference, or consistency in one number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import InvalidInput, NotFound, RunFailed

# What is asked of a model: how likely the premise entails the claim, or how likely it does not contradict it.
Asked = Literal["entailment", "consistency"]

_ENTAILS = re.compile(r"entail\w*|supports?|supported|consistent|faithful|grounded")
_CONTRADICTS = re.compile(r"contradict\w*|refutes?|refuted")
# Longest input, tokens, of a model that does not say how much it reads.
_LONGEST = 512
_SPECIAL = 4  # tokens around a premise and a claim, at most
# Pairs that are tokenised at once.
_BLOCK = 1024
_HINT = "Give a folder of transformers' AutoModelForSequenceClassification that knows entailment, in safetensors."


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of a premise and of a claim, as tokens."""

    pair: int
    piece: int  # of the claim
    inputs: dict[str, list[int]]


class Entailment:
    """A model for sequence classification in memory."""

    def __init__(self, folder: Path, network: Any, tokenizer: Any, *, batch_size: int) -> None:
        self.folder, self._network, self._tokenizer, self._batch_size = folder, network, tokenizer, batch_size
        self._longest = _longest(network.config, tokenizer)
        self._entails, self._contradicts = _labels(network.config, folder)

    def probabilities(self, pairs: Sequence[tuple[str, str]], asked: Asked = "entailment") -> list[float]:
        """Return what is asked of each (premise, claim), 0 … 1.

        A premise that is too long is read in windows that overlap, of which the best counts. A claim that takes more
        than half of what the model reads is read in pieces, of which the worst counts.

        `consistency` is 1 − p(contradiction) / (p(entailment) + p(contradiction)) (Manakul et al. 2023, eq. 9), and
        p(entailment) of a model that does not know contradiction.

        Raises:
            RunFailed: if the model does not compute numbers.
        """
        distinct = list(dict.fromkeys(pairs))
        told: dict[tuple[str, str], float] = {}
        for start in range(0, len(distinct), _BLOCK):
            block = distinct[start : start + _BLOCK]
            told.update(zip(block, self._of_block(block, asked), strict=True))
        return [told[pair] for pair in pairs]

    def _of_block(self, pairs: Sequence[tuple[str, str]], asked: Asked) -> list[float]:
        windows = list(self._windows(pairs))
        best: dict[tuple[int, int], float] = {}
        for window, value in zip(windows, self._values(windows, asked), strict=True):
            place = (window.pair, window.piece)
            best[place] = max(best.get(place, 0.0), value)
        worst = [1.0] * len(pairs)
        for (pair, _), value in best.items():
            worst[pair] = min(worst[pair], value)
        return worst

    def _windows(self, pairs: Sequence[tuple[str, str]]) -> Iterator[_Window]:
        pieces = [(pair, piece, text) for pair, (_, claim) in enumerate(pairs) for piece, text in self._pieces(claim)]
        encoded = self._tokenizer(
            [pairs[pair][0] for pair, _, _ in pieces],
            [text for _, _, text in pieces],
            truncation="only_first",
            max_length=self._longest,
            stride=self._longest // 8,
            return_overflowing_tokens=True,
        )
        sources = encoded.pop("overflow_to_sample_mapping")
        for row, source in enumerate(sources):
            pair, piece, _ = pieces[source]
            yield _Window(pair, piece, {name: values[row] for name, values in encoded.items()})

    def _pieces(self, claim: str) -> Iterator[tuple[int, str]]:
        most = max(1, self._longest // 2 - _SPECIAL)
        spans = self._tokenizer(claim, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        if len(spans) <= most:
            yield 0, claim
            return
        for number, start in enumerate(range(0, len(spans), most)):
            part = spans[start : start + most]
            yield number, claim[part[0][0] : part[-1][1]]

    def _values(self, windows: Sequence[_Window], asked: Asked) -> list[float]:
        import torch

        by_length = sorted(range(len(windows)), key=lambda number: -len(windows[number].inputs["input_ids"]))
        values = [0.0] * len(windows)
        for start in range(0, len(by_length), self._batch_size):
            chosen = by_length[start : start + self._batch_size]
            batch = self._tokenizer.pad([windows[number].inputs for number in chosen], return_tensors="pt")
            with torch.inference_mode():
                logits = self._network(**batch.to(self._network.device)).logits.double().cpu()
            for number, value in zip(chosen, self._read(logits, asked).tolist(), strict=True):
                values[number] = value
        return values

    def _read(self, logits: Any, asked: Asked) -> Any:
        """Return what is asked, [rows], from logits [rows, labels]."""
        if not bool(logits.isfinite().all()):
            raise RunFailed("the model computes scores that are no numbers.", where=str(self.folder))
        if logits.shape[-1] == 1:
            return logits[:, 0].sigmoid()
        if asked == "consistency" and self._contradicts is not None:
            return logits[:, [self._entails, self._contradicts]].softmax(-1)[:, 0]
        return logits.softmax(-1)[:, self._entails]


def load_entailment(folder: Path, *, device: str | None = None, batch_size: int = 32) -> Entailment:
    """Return the cross-encoder of a folder. Nothing is downloaded, and no code of the folder runs.

    device: of torch; None: the GPU if there is one.

    Raises:
        NotFound: if there is no model.
        InvalidInput: if it cannot be loaded, is no model for sequence classification, or does not say which of its
            labels is entailment.
    """
    _check(folder)
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from engine.job.runtime import first_line

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        network, report = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # every library below has exceptions of its own
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise _wrong(folder, f"the scorer cannot be loaded: {first_line(error).rstrip('.')}.") from error
    if missing := sorted(report["missing_keys"]):
        raise _wrong(folder, f"{len(missing)} weights of the scorer are missing, {missing[0]} first.")
    if not tokenizer.is_fast:
        raise _wrong(folder, "the scorer has no tokenizer.json, which tells where tokens stand in a text.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if network.config.pad_token_id is None:
        network.config.pad_token_id = tokenizer.pad_token_id
    network = network.float().eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Entailment(folder, network, tokenizer, batch_size=batch_size)


def _check(folder: Path) -> None:
    """Refuse before libraries are loaded, which would draw a missing head at random."""
    file = folder / "config.json"
    if not file.is_file():
        raise NotFound("there is no scorer: config.json is missing.", hint=_HINT, where=str(folder))
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kinds = [str(kind) for kind in config.get("architectures") or []]
        own_code = sorted((config.get("auto_map") or {}).values())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _wrong(folder, "config.json cannot be read as that of a model.") from error
    if own_code:
        raise _wrong(folder, f"the scorer brings code of its own ({own_code[0]}), which is not run.")
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise _wrong(folder, f"this is no scorer, but a {', '.join(kinds) or 'model without a head'}.")


def _labels(config: Any, folder: Path) -> tuple[int, int | None]:
    """Return which label is entailment, and which contradiction, if there is one."""
    names = {int(number): str(name).lower().strip() for number, name in config.id2label.items()}
    if len(names) == 1:
        return 0, None
    entails = [number for number, name in names.items() if _ENTAILS.fullmatch(name)]
    contradicts = [number for number, name in names.items() if _CONTRADICTS.fullmatch(name)]
    if len(entails) != 1 or len(contradicts) > 1:
        shown = ", ".join(names[number] for number in sorted(names))
        raise InvalidInput(
            f"it is unclear which of the labels {shown} is entailment.",
            hint="Name them in id2label of config.json, such as contradiction, entailment, neutral.",
            where=str(folder),
        )
    return entails[0], contradicts[0] if contradicts else None


def _longest(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the model reads, at most 512: longer windows dilute what a sentence of a premise says."""
    positions = getattr(config, "max_position_embeddings", None) or _LONGEST
    # RoBERTa and its kind count positions from the pad token's number on.
    if tokenizer.model_max_length > positions and "roberta" in config.model_type:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(_LONGEST, positions if positions > 0 else _LONGEST, tokenizer.model_max_length))


def _wrong(folder: Path, message: str) -> InvalidInput:
    return InvalidInput(message, hint=_HINT, where=str(folder))
