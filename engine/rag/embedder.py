"""Texts to vectors, by a sentence-transformers model."""

from __future__ import annotations

import copy
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.calibration import Calibration, Sample, Vectors, calibrate
from engine.rag.calibration_texts import calibration_texts
from engine.rag.embedder_folder import fingerprint, load_model
from engine.rag.length_batches import batches, slabs
from engine.rag.tokens import TokenCounter, TokenizerCounter
from engine.spec.rag import Embedder

_SURROGATES = re.compile(r"[\ud800-\udfff]")
UNBOUNDED = 1_000_000_000  # tokens that a model without a limit reads
_UNSLICED = 32  # texts of a batch, where a model's first module gives no table of tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the texts, embedded."""

    rows: NDArray[np.int64]  # their numbers among the texts
    vectors: Vectors  # [len(rows), dimension]
    tokens: int  # without padding; 0 where the model has none


class Encoder:
    """An embedder in memory. Its vectors have unit length; a text without a direction has a row of NaN."""

    def __init__(self, model: Any, settings: Embedder, identity: str) -> None:
        self._model, self._folder = model, Path(settings.path)
        self.name = self._folder.resolve().name
        self.fingerprint = identity
        self.query_prompt, self.passage_prompt = _prompts(model, settings)
        self.calibration = Calibration("fp32", 0, _UNSLICED)

    @property
    def precision(self) -> str:
        """What it computes in: fp32, bf16 or fp16. What it returns is float32."""
        return self.calibration.precision

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self._model.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest text that is read whole, with prompt and special tokens; a billion: no limit."""
        return _max_tokens(self._model)

    @property
    def device(self) -> str:
        """What it computes on: cpu, cuda:0."""
        return str(self._model.device)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one row a text, float32 [n, dimension], in the order of the texts.

        Rows of unit length; NaN where the model gave no direction: `problem_rows` finds them.

        Raises:
            InvalidInput: if a text is blank.
        """
        return self._gathered(texts, self.passage_batches(texts))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one row of unit length a text, float32 [n, dimension], in the order of the texts.

        Raises:
            InvalidInput: if a text is blank, or the model gave no direction.
        """
        vectors = self._gathered(texts, self._batches(texts, None, self.query_prompt, "query"))
        for row in problem_rows(vectors):
            raise InvalidInput(f"the embedder {self.name} gives no direction for the query {texts[row][:80]!r}.")
        return vectors

    def passage_batches(self, texts: Sequence[str], done: NDArray[np.bool_] | None = None) -> Iterator[Batch]:
        """Yield the texts that are not `done` as they are embedded, longest first.

        What is in which batch depends on the texts, the model and the calibration alone: after a stop at the end of a
        batch the rest comes in the same batches, with the same bits.
        """
        return self._batches(texts, done, self.passage_prompt, "document")

    def truncated(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of the passages that are longer than `max_tokens`, of which the end is not read."""
        tokenizer, limit = self._model.tokenizer, self.max_tokens
        if limit == UNBOUNDED or not texts:
            return []
        whole = tokenizer(
            [self.passage_prompt + _SURROGATES.sub("\ufffd", text) for text in texts],
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return [number for number, tokens in enumerate(whole) if len(tokens) > limit]

    def calibrate(self, precision: str, batch_size: int | None) -> None:
        """Try what is fastest, for some two seconds, and compute so from here on. Needs a model in fp32."""
        import torch

        few, every = calibration_texts(4), calibration_texts(32 if self._is_cpu else 1024)
        exact = self._model[0]
        halves: dict[str, Any] = {}

        def run(candidate: str, batch_tokens: int, which: str) -> Sample:
            if precision == "auto" and candidate != "fp32" and candidate not in halves:
                halves.clear()
                halves[candidate] = _in(copy.deepcopy(exact), candidate)
            self._model[0] = halves.get(candidate, exact)
            self.calibration = Calibration(candidate, batch_tokens, batch_size)
            texts = few if which == "few" else every
            vectors = np.empty((len(texts), self.dimension), np.float32)
            tokens, began, worked = 0, time.perf_counter(), time.process_time()
            for batch in self.passage_batches(texts):
                vectors[batch.rows] = batch.vectors
                tokens += batch.tokens
            seconds, work = time.perf_counter() - began, time.process_time() - worked
            return Sample(vectors, tokens or len(texts), seconds, work if self._is_cpu else seconds)

        if precision != "auto":
            _in(exact, precision)
        kind = self._model.device.type
        self.calibration = calibrate(run, kind, precision, batch_size, threads=torch.get_num_threads())
        self._model[0] = _in(exact, self.precision) if precision == "auto" else exact

    def compute_as(self, calibration: Calibration) -> None:
        """Compute as an earlier trial has chosen. Needs a model in fp32."""
        _in(self._model[0], calibration.precision)
        self.calibration = calibration

    def counter(self) -> TokenCounter:
        """Return what counts tokens as this embedder does."""
        return TokenizerCounter(self._folder)

    @property
    def _is_cpu(self) -> bool:
        return bool(self._model.device.type == "cpu")

    def _gathered(self, texts: Sequence[str], batches_of_texts: Iterator[Batch]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for batch in batches_of_texts:
            vectors[batch.rows] = batch.vectors
        return vectors

    def _batches(self, texts: Sequence[str], done: NDArray[np.bool_] | None, prompt: str, task: str) -> Iterator[Batch]:
        texts = [_readable(text, number) for number, text in enumerate(texts)]
        for slab in slabs(texts):
            if done is None or not done[slab].all():
                yield from self._slab(texts, np.asarray(slab), done, prompt, task)

    def _slab(
        self, texts: Sequence[str], slab: NDArray[np.int64], done: NDArray[np.bool_] | None, prompt: str, task: str
    ) -> Iterator[Batch]:
        """Yield the batches of texts that are tokenized together; a GPU is at one while the one before is fetched."""
        features = self._model.preprocess([texts[number] for number in slab], prompt=prompt, task=task)
        widths = _widths(features, len(slab))
        running: deque[tuple[NDArray[np.int64], Any, int]] = deque()
        if widths is None:
            size = self.calibration.batch_size or _UNSLICED
            order, groups = np.arange(len(slab)), batches([1] * len(slab), 0, size)
        else:
            order = np.argsort(-widths, kind="stable")
            groups = batches(widths[order].tolist(), self.calibration.batch_tokens, self.calibration.batch_size)
        for group in groups:
            members = order[group.start : group.stop]
            if done is not None:
                members = members[~done[slab[members]]]
            if not len(members):
                continue
            if widths is None:
                part = self._model.preprocess([texts[number] for number in slab[members]], prompt=prompt, task=task)
                tokens = 0
            else:
                part, tokens = _part(features, members, int(widths[members].max())), int(widths[members].sum())
            running.append((slab[members], self._directions(part, task), tokens))
            if len(running) > (0 if self._is_cpu else 1):
                yield _fetched(*running.popleft())
        for batch in running:
            yield _fetched(*batch)

    def _directions(self, features: dict[str, Any], task: str) -> Any:
        """Return unit vectors [n, dimension] in fp32, on the device; NaN where there is no direction."""
        import torch

        with torch.inference_mode():
            device = self._model.device
            moved = {
                key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
                for key, value in features.items()
            }
            vectors = self._model(moved, task=task)["sentence_embedding"].float()
            vectors = vectors[:, : self.dimension]  # a model may say to use the first so many
            lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
            sound = torch.isfinite(lengths) & (lengths > 0)
            return torch.where(sound, vectors / lengths, torch.nan)


def load_encoder(
    settings: Embedder,
    *,
    device: str | None = None,
    threads: int | None = None,
    calibration: Calibration | None = None,
) -> Encoder:
    """Load the embedder of a spec, and try what it is fastest in unless that is known.

    Args:
        device: cpu, cuda, cuda:1; None: a GPU if there is one.
        threads: of this process on a CPU; None: as many as torch has.
        calibration: of an earlier load or another rank; no trial is made then.

    Raises:
        InvalidInput: if the folder holds no sentence-transformers model, or a damaged one.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    folder = Path(settings.path)
    model = load_model(folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    query, passage = _prompts(model, settings)
    facts = {"query_prompt": query, "passage_prompt": passage, "max_tokens": _max_tokens(model), "normalised": True}
    encoder = Encoder(model, settings, fingerprint(folder, facts))
    if calibration is not None:
        encoder.compute_as(calibration)
    else:
        encoder.calibrate(settings.precision, settings.batch_size)
    return encoder


def problem_rows(vectors: Vectors) -> list[int]:
    """Return the numbers of the rows that have no direction. vectors: of an encoder, [n, dimension]."""
    return [int(row) for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1))]


def _readable(text: str, number: int) -> str:
    """Return a text as a tokenizer takes it: a lone surrogate becomes U+FFFD."""
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidInput(f"text {number} is blank, and every query would find it.")
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _prompts(model: Any, settings: Embedder) -> tuple[str, str]:
    """Return what stands before queries and passages: of the spec, else what the model itself asks for."""
    own: dict[str, str] = model.prompts
    default = own.get(model.default_prompt_name, "") if model.default_prompt_name else ""
    passage = next((own[name] for name in ("document", "passage", "corpus") if own.get(name)), default)
    return settings.query_prompt or own.get("query") or default, settings.passage_prompt or passage


def _max_tokens(model: Any) -> int:
    config = getattr(getattr(model, "transformers_model", None), "config", None)
    limits = (model.max_seq_length, getattr(config, "max_position_embeddings", None))
    return next((int(limit) for limit in limits if limit and limit < UNBOUNDED), UNBOUNDED)


def _in(module: Any, precision: str) -> Any:
    """Put the first module of a model, which holds nearly all of its weights, into a precision; the rest stays fp32."""
    import torch

    if precision == "fp32":
        return module
    module.to({"bf16": torch.bfloat16, "fp16": torch.float16}[precision])

    def widen(_module: Any, _inputs: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        return {
            key: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for key, value in outputs.items()
        }

    module.register_forward_hook(widen)
    return module


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


def _fetched(rows: NDArray[np.int64], vectors: Any, tokens: int) -> Batch:
    return Batch(rows, vectors.cpu().numpy(), tokens)
