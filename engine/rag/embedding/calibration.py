"""A short trial of what an embedder computes fastest in, with the same directions. No heavy imports here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_COSINE = 0.999
SECONDS = 2.0  # after which nothing further is tried
BATCH_TOKENS = {"cpu": (1024, 2048, 512, 4096), "cuda": (16384, 65536, 32768, 8192)}  # the first is the default
_HALVES = {"cpu": ("bf16",), "cuda": ("fp16", "bf16")}
_WORTH = 1.1  # how many times faster another choice must be
_FEW_THREADS = 4
_HOPELESS = 5.0  # how many times slower the first texts show it to be

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice, measured."""

    precision: str
    batch_tokens: int
    tokens_per_second: float
    cosine: float  # the least among the sample, to fp32; NaN where a vector was not finite


@dataclass(frozen=True, slots=True)
class Calibration:
    """How an embedder computes. Equal ones on equal machines give equal vectors, to the bit."""

    precision: str  # fp32, bf16, fp16
    batch_tokens: int  # of a batch, with its padding
    batch_size: int | None = None  # texts of a batch, in place of the tokens
    trials: tuple[Trial, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return what a JSON file or another rank is told."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Calibration:
        """Return what `record` gave."""
        return cls(**{**record, "trials": tuple(Trial(**trial) for trial in record["trials"])})


@dataclass(frozen=True, slots=True)
class Sample:
    """Vectors of a few texts in one way of computing. texts: "few" to see whether it is hopeless, or "all"."""

    vectors: Vectors  # [n, dim], of unit length
    tokens: int
    seconds: float
    work: float  # seconds of processor time; on a GPU the same as seconds


Run = Callable[[str, int, str], Sample]  # (precision, batch tokens, "few" or "all")


def calibrate(
    run: Run,
    device: str,
    precision: str,
    batch_size: int | None,
    *,
    threads: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Calibration:
    """Choose the precision where it says auto, and the tokens of a batch where no size is given.

    Half precision must be a tenth faster and keep every direction of the sample: cosine to fp32 at least .999. Another
    batch must be a tenth faster than the default. On a CPU processor time decides, which busy neighbours change little;
    over batches only with few threads, since threads that wait use none.

    Args:
        run: embeds the sample; its first call in a precision may be slower.
        device: cpu or cuda.
        precision: auto, fp32, bf16, fp16.
        threads: that compute, on a CPU.
    """
    kind = "cpu" if device == "cpu" else "cuda"
    default, *others = BATCH_TOKENS[kind]
    if kind == "cuda":
        run = _warmed(run)
    if precision != "auto" and batch_size is not None:
        return Calibration(precision, default, batch_size)
    deadline = clock() + SECONDS
    trials: list[Trial] = []
    if precision == "auto":
        trials = _precisions(run, _HALVES[kind], default)
        precision = _best_precision(trials)
    if batch_size is not None:
        return Calibration(precision, default, batch_size, tuple(trials))
    if kind == "cuda":
        deadline = clock() + SECONDS  # loading its kernels has taken most of the first

    def rate(tokens: int) -> Trial:
        sample = run(precision, tokens, "all")
        return Trial(
            precision, tokens, sample.tokens / (sample.work if threads <= _FEW_THREADS else sample.seconds), 1.0
        )

    run(precision, default, "few")
    sizes = [rate(default)]
    for tokens in others:
        if clock() > deadline:
            break
        sizes.append(rate(tokens))
    return Calibration(precision, _best_tokens(sizes), None, (*trials, *sizes))


def _warmed(run: Run) -> Run:
    """Return what embeds a sample twice, and tells of the second time: a GPU is slower with shapes that are new."""

    def again(precision: str, tokens: int, which: str) -> Sample:
        run(precision, tokens, which)
        return run(precision, tokens, which)

    return again


def _precisions(run: Run, halves: Sequence[str], tokens: int) -> list[Trial]:
    def work(precision: str) -> float:
        run(precision, tokens, "few")
        return run(precision, tokens, "few").work

    exact, few = None, work("fp32")
    trials: list[Trial] = []
    for half in halves:
        if work(half) > _HOPELESS * few:
            continue
        if exact is None:
            exact = run("fp32", tokens, "all")
            trials.append(Trial("fp32", tokens, exact.tokens / exact.work, 1.0))
            run(half, tokens, "few")
        sample = run(half, tokens, "all")
        cosine = least_cosine(sample.vectors, exact.vectors)
        trials.append(Trial(half, tokens, sample.tokens / sample.work, cosine))
    return trials


def least_cosine(vectors: Vectors, exact: Vectors) -> float:
    """Return the least cosine of rows of unit length with those of another array; NaN if a number is not finite."""
    if not np.isfinite(vectors).all():
        return float("nan")
    return float(np.einsum("nd,nd->n", vectors, exact).min())


def _best_precision(trials: Sequence[Trial]) -> str:
    """Return that of the fastest trial that keeps directions; the first is of fp32. Without trials: fp32."""
    best = trials[0] if trials else None
    for trial in trials[1:]:
        assert best is not None
        worth = _WORTH * best.tokens_per_second
        if trial.cosine >= LEAST_COSINE and trial.tokens_per_second > worth:
            best = trial
    return best.precision if best else "fp32"


def _best_tokens(trials: Sequence[Trial]) -> int:
    """Return those of the fastest trial, if it is worth leaving the default, which is the first."""
    fastest = max(trials, key=lambda trial: trial.tokens_per_second)
    worth = fastest.tokens_per_second > _WORTH * trials[0].tokens_per_second
    return (fastest if worth else trials[0]).batch_tokens
