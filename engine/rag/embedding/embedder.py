"""Texts to vectors, by a sentence-transformers model."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.chunks.tokens import TokenCounter, TokenizerCounter
from engine.rag.embedding.ahead import ahead
from engine.rag.embedding.calibration import Calibration, Sample, Vectors, calibrate
from engine.rag.embedding.folder import fingerprint, load_model
from engine.rag.embedding.tokenised import UNSLICED, Inputs, readable, tokenised
from engine.rag.embedding.trial_texts import calibration_texts
from engine.spec.rag import Embedder

UNBOUNDED = 1_000_000_000  # tokens that a model without a limit reads
# On a GPU. What is embedded and not yet taken is lost in a kill: two batches, and two more that the GPU is at.
_TOKENISED_AHEAD = 2  # groups of texts that are tokenised together
_EMBEDDED_AHEAD = 2  # batches

Tag = TypeVar("Tag")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the texts, embedded."""

    rows: NDArray[np.int64]  # their numbers among the texts
    vectors: Vectors  # [len(rows), dimension]
    tokens: int  # without padding; 0 where the model has none


@dataclass(frozen=True, slots=True)
class _Launched:
    """A batch that the device is at, or has done."""

    inputs: Inputs
    vectors: Any  # on the CPU, and there when the event has come
    event: Any  # None: they are there

    def fetched(self) -> Batch:
        """Wait for the vectors."""
        if self.event is not None:
            self.event.synchronize()
        return Batch(self.inputs.rows, self.vectors.numpy(), self.inputs.tokens)


class Encoder:
    """An embedder in memory. Its vectors have unit length; a text without a direction has a row of NaN."""

    def __init__(self, model: Any, settings: Embedder, identity: str) -> None:
        self._model, self._folder = model, Path(settings.path)
        self.name = self._folder.resolve().name
        self.fingerprint = identity
        self.query_prompt, self.passage_prompt = _prompts(model, settings)
        self.calibration = Calibration("fp32", 0, UNSLICED)

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
        embedded = self._embedded([(None, texts, None)], lambda: False, self.query_prompt, "query", 0)
        vectors = self._gathered(texts, (batch for _, batch in embedded if batch is not None))
        for row in problem_rows(vectors):
            raise InvalidInput(f"the embedder {self.name} gives no direction for the query {texts[row][:80]!r}.")
        return vectors

    def passage_batches(self, texts: Sequence[str], done: NDArray[np.bool_] | None = None) -> Iterator[Batch]:
        """Yield the texts that are not `done` as they are embedded, longest first.

        What is in which batch depends on the texts, the model and the calibration alone: after a stop at the end of a
        batch the rest comes in the same batches, with the same bits.
        """
        for _, batch in self.passage_blocks([(None, texts, done)]):
            if batch is not None:
                yield batch

    def passage_blocks(
        self,
        blocks: Iterable[tuple[Tag, Sequence[str], NDArray[np.bool_] | None]],
        ended: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[Tag, Batch | None], None, None]:
        """Yield the batches of several lists of texts, one list after the other, and None behind those of each.

        For a GPU threads tokenise ahead and fetch what was embedded, so that it never waits: `blocks` is iterated in
        another thread, a little ahead of what is yielded.

        Args:
            blocks: what is to be yielded beside each batch, the texts, and which of them are done.
            ended: asked before each batch whether to begin no other one; those that were begun still come.
        """
        # On a CPU the threads that embed need all cores: others would only be in their way.
        before, behind = (_TOKENISED_AHEAD, _EMBEDDED_AHEAD) if self._is_gpu else (0, 0)
        return ahead(self._embedded(blocks, ended, self.passage_prompt, "document", before), behind, "embed")

    def truncated(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of the passages that are longer than `max_tokens`, of which the end is not read."""
        limit = self.max_tokens
        if limit == UNBOUNDED or not texts:
            return []
        passages = [self.passage_prompt + readable(text) for text in texts]
        if self._whole_tokenizer is not None:
            counts = map(len, self._whole_tokenizer.encode_batch_fast(passages))
        else:
            options = {"truncation": False, "padding": False, "return_attention_mask": False, "verbose": False}
            counts = map(len, self._model.tokenizer(passages, return_token_type_ids=False, **options)["input_ids"])
        return [number for number, count in enumerate(counts) if count > limit]

    @cached_property
    def _whole_tokenizer(self) -> Any:
        """The model's tokenizer, of the library tokenizers, told not to cut; None where it is not of that library."""
        tokenizer = copy.deepcopy(getattr(self._model.tokenizer, "backend_tokenizer", None))
        if tokenizer is not None:
            tokenizer.no_truncation()
            tokenizer.no_padding()
        return tokenizer

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

    @property
    def _is_gpu(self) -> bool:
        return bool(self._model.device.type == "cuda")

    def _gathered(self, texts: Sequence[str], batches_of_texts: Iterable[Batch]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for batch in batches_of_texts:
            vectors[batch.rows] = batch.vectors
        return vectors

    def _embedded(
        self,
        blocks: Iterable[tuple[Tag, Sequence[str], NDArray[np.bool_] | None]],
        ended: Callable[[], bool],
        prompt: str,
        task: str,
        tokenised_ahead: int,
    ) -> Generator[tuple[Tag, Batch | None], None, None]:
        """Yield batches, and None behind those of a block; a GPU is at one while the one before is taken."""

        def inputs() -> Generator[tuple[Tag, list[Inputs] | None], None, None]:
            for tag, texts, done in blocks:
                settings: dict[str, Any] = {"prompt": prompt, "task": task, "calibration": self.calibration}
                for group in tokenised(self._model, texts, done, **settings):
                    yield tag, group
                yield tag, None

        most = 1 if self._is_gpu else 0
        running: deque[tuple[Tag, _Launched | None]] = deque()
        with closing(ahead(inputs(), tokenised_ahead, "tokenise")) as groups:
            for tag, batch in _each(groups):
                if batch is not None and ended():
                    break
                running.append((tag, self._launched(batch, task) if batch is not None else None))
                while running and (running[0][1] is None or sum(one is not None for _, one in running) > most):
                    yield _taken(running.popleft())
        yield from map(_taken, running)

    def _launched(self, inputs: Inputs, task: str) -> _Launched:
        if not self._is_gpu:
            return _Launched(inputs, self._directions(inputs.features, task).cpu(), None)
        import torch

        with torch.cuda.device(self._model.device):  # a thread begins with the first one
            # Asked for at once: behind the next batch, the copy would wait for that one too.
            copied = self._directions(inputs.features, task).to("cpu", non_blocking=True)
            event = torch.cuda.Event(blocking=True)
            event.record()
        return _Launched(inputs, copied, event)

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


def _each(groups: Iterable[tuple[Tag, list[Inputs] | None]]) -> Iterator[tuple[Tag, Inputs | None]]:
    for tag, group in groups:
        yield from ((tag, batch) for batch in (group if group is not None else [None]))


def _taken(running: tuple[Tag, _Launched | None]) -> tuple[Tag, Batch | None]:
    tag, launched = running
    return tag, launched.fetched() if launched is not None else None
