"""The reward: what the terms say of each answer, normalised, clipped, weighted and added."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from engine.errors import InvalidInput, RunFailed
from engine.rl.masking import require_same_shape
from engine.rl.moments import Moments
from engine.rl.rewards import truncation_scores
from engine.spec.ppo import RewardTerm

# Deviation of equal values over their mean: what rounding leaves of 0.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """The reward of a global batch of answers."""

    scores: Tensor  # float32 [episodes]: the sum of the terms, after what truncation costs
    terms: Mapping[str, Tensor]  # float64 [episodes] by name: what each adds to the score, before truncation
    clipped: Mapping[str, float]  # share of the values that were clipped, by the name of each term with a clip


class Reward:
    """The terms of the reward, with what is remembered of their values.

    It sees the values of the *global* batch, alike on every rank, so it needs no communication. Its state is part of a
    checkpoint: `state` and `restore` keep every bit.

    Arguments:
        terms: by name, in the order in which they are added.
        frozen: mean and deviation by the name of a term, as exported with its reward model. A term of `frozen`
            normalisation that has none here, as a rule, is taken as it is.
        truncation: what becomes of the score of an answer that was cut (see `engine.rl.rewards.truncation_scores`);
            "keep": nothing.
        penalty: of truncation, in units of the score.

    Raises:
        InvalidInput: a frozen mean or deviation is no finite number.
    """

    def __init__(
        self,
        terms: Mapping[str, RewardTerm],
        frozen: Mapping[str, tuple[float, float]],
        *,
        truncation: Literal["replace", "subtract", "keep"],
        penalty: float,
    ) -> None:
        for name, numbers in frozen.items():
            if not all(map(math.isfinite, numbers)):
                raise InvalidInput(
                    f"the reward model has mean {numbers[0]} and deviation {numbers[1]}.",
                    hint="Train it again, or set normalise to running or none.",
                    where=f"rewards.{name}",
                )
        self._terms, self._frozen = dict(terms), dict(frozen)
        self._truncation, self._penalty = truncation, penalty
        # Of all answers so far, by the name of each term of running normalisation.
        self._running = {name: _no_moments() for name, term in terms.items() if term.normalise == "running"}

    def compose(self, raw: Mapping[str, Tensor], truncated: Tensor, *, learn: bool) -> Composed:
        """Return the reward of a global batch.

        Each term is (raw − mean) / deviation, clipped to ±clip, times its weight; a deviation that is 0, or of fewer
        than two values, counts as 1.

        Arguments:
            raw: [episodes] by name, what each term says.
            truncated: bool [episodes], the answers that were cut at the longest length.
            learn: running moments take these answers in, before they normalise them; in an evaluation they do not.

        Raises:
            RunFailed: a term says something that is no finite number; running moments are as before.
            ValueError: other terms than those of the reward, or the shapes differ.
        """
        if raw.keys() != self._terms.keys():
            raise ValueError(f"values of {', '.join(raw)} for a reward of {', '.join(self._terms)}")
        for values in raw.values():
            require_same_shape(values=values, truncated=truncated)
        exact = {name: raw[name].detach().double() for name in self._terms}
        for name, values in exact.items():
            _require_finite(name, values)
        if learn:
            for name, moments in self._running.items():
                new = Moments.of(exact[name], torch.ones_like(exact[name], dtype=torch.bool))
                self._running[name] = Moments.merged(torch.stack([moments.packed(), new.packed().cpu()]))
        added: dict[str, Tensor] = {}
        clipped: dict[str, float] = {}
        for name, term in self._terms.items():
            mean, deviation = self._scale(name)
            values = (exact[name] - mean) / deviation
            if term.clip is not None:
                clipped[name] = int((values.abs() > term.clip).sum()) / max(1, values.numel())
                values = values.clamp(-term.clip, term.clip)
            added[name] = values * term.weight
        scores = torch.stack(list(added.values())).sum(0)
        if self._truncation != "keep":
            scores = truncation_scores(scores, truncated, policy=self._truncation, penalty=self._penalty)
        return Composed(scores.float(), added, clipped)

    def _scale(self, name: str) -> tuple[float, float]:
        """Return mean and deviation that a term is normalised by."""
        mean, deviation = 0.0, 1.0
        if self._terms[name].normalise == "frozen":
            mean, deviation = self._frozen.get(name, (0.0, 1.0))
        elif name in self._running:
            moments = self._running[name]
            mean, deviation = float(moments.mean), float(moments.variance.sqrt())
            if moments.count < 2 or deviation <= _ROUNDING * abs(mean):
                deviation = 0.0
        return mean, deviation if deviation > 0.0 else 1.0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: plain values, which JSON restores to the bit."""
        return {"running": {name: moments.packed().tolist() for name, moments in self._running.items()}}

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        """Go on from a checkpoint; return a sentence on each term whose moments could not be taken over."""
        kept = state.get("running", {})
        problems: list[str] = []
        for name in self._running:
            if name in kept:
                self._running[name] = Moments(*torch.tensor(kept[name], dtype=torch.float64).unbind())
            else:
                self._running[name] = _no_moments()
                problems.append(f"the checkpoint has no mean and deviation of rewards.{name}, so they start anew.")
        problems += [
            f"the checkpoint's mean and deviation of rewards.{name} are no longer used."
            for name in kept
            if name not in self._running
        ]
        return problems


def _no_moments() -> Moments:
    return Moments(*torch.zeros(3, dtype=torch.float64).unbind())


def _require_finite(name: str, values: Tensor) -> None:
    broken = values[~values.isfinite()]
    if len(broken):
        raise RunFailed(
            f"the term gave {float(broken[0])} for {len(broken)} of {len(values)} answers.",
            hint="Look at the reward model or the function behind it.",
            where=f"rewards.{name}",
        )
