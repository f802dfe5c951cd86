"""How the curves of generated runs go: one class a kind, each a pure function of the step and of the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Noise = np.random.Generator


class Course(Protocol):
    """What a generated run measures."""

    @property
    def steps(self) -> int:
        """All of them."""
        ...

    @property
    def every(self) -> int:
        """Steps between evaluations; 0: none."""
        ...

    def metrics(self, step: int, noise: Noise) -> dict[str, float]:
        """Return what is measured at a step; `seconds_per_step` is always there."""
        ...

    def evaluation(self, step: int, noise: Noise) -> dict[str, float]:
        """Return what is measured on held-out rows."""
        ...


@dataclass(frozen=True, slots=True)
class FineTuning:
    """The loss falls to a floor; it may diverge."""

    steps: int
    floor: float  # nats
    speed: float  # share of the steps in which the loss falls by e
    lr: float
    seconds: float = 4.1  # of a step
    tokens: float = 262_144  # of a step
    diverges_at: int | None = None
    every: int = 100

    def metrics(self, step: int, noise: Noise) -> dict[str, float]:
        """Return what is measured at a step."""
        fallen = 1.9 * math.exp(-step / (self.speed * self.steps)) + 0.5 * math.exp(-step / 25)
        loss = self.floor + fallen + float(noise.normal(0, 0.035 + 0.05 * fallen))
        gradient = 0.7 + 2.4 * math.exp(-step / 60) + float(noise.gamma(2.0, 0.12))
        if self.diverges_at is not None and step > self.diverges_at:
            loss += math.exp((step - self.diverges_at) / 9) - 1
            gradient *= math.exp((step - self.diverges_at) / 12)
            if loss > 60:
                loss = gradient = math.nan
        if step % 397 == 0:
            gradient += 6.0
        return {"loss": loss, "grad_norm": gradient} | _pace(self, step, noise)

    def evaluation(self, step: int, noise: Noise) -> dict[str, float]:
        """Return the loss on held-out rows."""
        loss = self.floor + 0.08 + 1.85 * math.exp(-step / (self.speed * self.steps))
        return {"eval_loss": loss, "eval_perplexity": math.exp(min(loss, 700))}


@dataclass(frozen=True, slots=True)
class Preferences:
    """The reward model tells better from worse ever more often."""

    steps: int
    accuracy: float  # at the end
    lr: float
    seconds: float = 2.4
    tokens: float = 131_072
    every: int = 50

    def metrics(self, step: int, noise: Noise) -> dict[str, float]:
        """Return what is measured at a step."""
        learned = 1 - math.exp(-4 * step / self.steps)
        accuracy = 0.5 + (self.accuracy - 0.5) * learned + float(noise.normal(0, 0.02))
        return {
            "loss": 0.69 * (1 - learned) + 0.24 * learned + float(noise.normal(0, 0.02)),
            "accuracy": min(1.0, accuracy),
            "margin": 2.1 * learned + float(noise.normal(0, 0.08)),
            "grad_norm": 1.1 + float(noise.gamma(2.0, 0.2)),
        } | _pace(self, step, noise)

    def evaluation(self, step: int, noise: Noise) -> dict[str, float]:
        """Return the accuracy on held-out pairs."""
        learned = 1 - math.exp(-4 * step / self.steps)
        return {
            "eval_loss": 0.69 * (1 - learned) + 0.29 * learned,
            "eval_accuracy": 0.5 + (self.accuracy - 0.02 - 0.5) * learned,
            "eval_margin": 1.9 * learned,
        }


@dataclass(frozen=True, slots=True)
class Policy:
    """The score rises, and the KL with it; answers may grow long, and the KL may run away."""

    steps: int
    score: float  # at the end
    kl: float  # nats a sequence, at the end
    lr: float
    hallucinated: float  # share of the answers, at the end
    lengthens_from: int | None = None
    runs_away_from: int | None = None
    seconds: float = 3.9
    tokens: float = 68_000
    every: int = 50

    def metrics(self, step: int, noise: Noise) -> dict[str, float]:
        """Return what is measured at a step."""
        learned = 1 - math.exp(-3.5 * step / self.steps)
        longer = max(0.0, step - self.lengthens_from) / 200 if self.lengthens_from is not None else 0.0
        away = max(0.0, step - self.runs_away_from) / 18 if self.runs_away_from is not None else 0.0
        length = 188 * (1 + 0.16 * learned + 0.42 * min(1.0, longer))
        kl = self.kl * learned * (1 + 0.1 * math.sin(step / 31)) + math.expm1(min(away, 4.5))
        generate, score = 2.1 * length / 188, 0.5
        seconds = generate + score + (self.seconds - 2.6) * (1 + abs(float(noise.normal(0, 0.03))))
        return {
            "score": -0.4 + (self.score + 0.4) * learned - 0.2 * min(away, 9.0) + float(noise.normal(0, 0.07)),
            "kl": max(0.0, kl + float(noise.normal(0, 0.12 + 0.03 * kl))),
            "entropy": 2.2 - 0.75 * learned - 0.12 * min(away, 8.0) + float(noise.normal(0, 0.02)),
            "value_loss": 0.32 * math.exp(-step / 60) + 0.1 + float(noise.gamma(2.0, 0.008)),
            "response_length": length + float(noise.normal(0, 4)),
            "clip_fraction": max(0.0, 0.11 + 0.03 * min(away, 6.0) + float(noise.normal(0, 0.015))),
            "explained_variance": 0.83 * (1 - math.exp(-step / 70)) - 0.05 * away + float(noise.normal(0, 0.03)),
            "policy_loss": -0.012 + float(noise.normal(0, 0.003)),
            "eos_rate": min(1.0, 0.995 - 0.08 * min(1.0, longer)),
            "repetition_rate": 0.02 + 0.03 * min(1.0, longer) + 0.02 * min(away, 6.0),
            "grad_norm": 0.8 + float(noise.gamma(2.0, 0.1)) + 0.4 * away,
            "value_grad_norm": 1.2 + float(noise.gamma(2.0, 0.2)),
            "generate_seconds": generate,
            "score_seconds": score,
            "train_seconds": seconds - generate - score,
            "seconds_per_step": seconds,
            "tokens_per_second": self.tokens * length / 188 / seconds,
            "memory_bytes": 71.2e9,
            "tokens": self.tokens * step,
            "lr": self.lr * min(1.0, step / 20),
        }

    def evaluation(self, step: int, noise: Noise) -> dict[str, float]:
        """Return the score on held-out prompts, and how many answers are right, abstain, or are made up."""
        learned = 1 - math.exp(-3.5 * step / self.steps)
        hallucinated = 0.46 + (self.hallucinated - 0.46) * learned
        correct = 0.41 + 0.05 * learned
        return {
            "eval_score": -0.5 + (self.score + 0.4) * learned,
            "eval_kl": self.kl * learned * 1.1,
            "eval_response_length": 180 * (1 + 0.16 * learned),
            "correct": correct,
            "hallucinated": hallucinated,
            "abstained": 1 - correct - hallucinated,
        }


@dataclass(frozen=True, slots=True)
class Embedding:
    """Chunks get their vectors; at the end the index is measured."""

    steps: int  # chunks
    rate: float  # chunks a second
    recall: Mapping[str, float]
    points: int = 240
    every: int = 0

    @property
    def stride(self) -> int:
        """Chunks between two points."""
        return max(1, self.steps // self.points)

    def metrics(self, step: int, noise: Noise) -> dict[str, float]:
        """Return what is measured at a step."""
        # the longest chunks come first
        rate = self.rate * (0.7 + 0.5 * step / self.steps) * (1 + float(noise.normal(0, 0.02)))
        return {
            "chunks": float(step),
            "embedded": float(step),
            "chunks_per_second": rate,
            "tokens_per_second": rate * (210 - 120 * step / self.steps),
            "seconds_per_step": 1 / rate,
            "memory_bytes": 3.1e9,
            "tokens": 150.0 * step,
        }

    def evaluation(self, step: int, noise: Noise) -> dict[str, float]:
        """Return how well the finished index finds."""
        return dict(self.recall) | {"bytes": self.steps * 4 * 384 * 1.35, "query_seconds": 0.0021}


def _pace(course: FineTuning | Preferences, step: int, noise: Noise) -> dict[str, float]:
    seconds = course.seconds * (1 + abs(float(noise.normal(0, 0.03)))) * (1.8 if step % 250 == 0 else 1.0)
    warm, share = min(1.0, step / 50), max(0.0, (step - 50) / max(1, course.steps - 50))
    return {
        "lr": course.lr * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * share))),
        "tokens_per_second": course.tokens / seconds,
        "seconds_per_step": seconds,
        "memory_bytes": 61.2e9 + 1.5e9 * min(1.0, step / 40),
        "tokens": course.tokens * step,
    }
