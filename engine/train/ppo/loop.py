"""The PPO step: sample, score, estimate, update; and what is measured, kept and exported around it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from engine.data.conversations import Split
from engine.data.examples import load_examples
from engine.data.prompts import Prompt, load_prompts
from engine.errors import InvalidInput
from engine.generate.models import longest_sequence
from engine.generate.sampling import Limits, episode_seed
from engine.job.journal import Journal, Sample
from engine.job.runtime import Runtime, explained
from engine.job.stopping import StopRequest
from engine.rl.kl_controller import AdaptiveKlController, FixedKlController, KlController
from engine.spec.models import PpoSpec
from engine.telemetry.records import Level
from engine.train import models
from engine.train.dataset import Stream, load_tokenizer
from engine.train.evaluation import Evaluation
from engine.train.export import export_model
from engine.train.loop import Remembered, StepOutcome, Trainer
from engine.train.ppo.ema import MovingAverage
from engine.train.ppo.episodes import Episode
from engine.train.ppo.experience import estimate, lengths_and_ends
from engine.train.ppo.judging import Judged, Judges
from engine.train.ppo.measures import groundedness, verdicts
from engine.train.ppo.open_book import open_book
from engine.train.ppo.reward import Composed, Reward
from engine.train.ppo.rollout import Rollout
from engine.train.ppo.separate import SeparateNetworks
from engine.train.ppo.shared import SharedNetworks
from engine.train.ppo.update import Update
from engine.train.tokenizers import require_same_tokenizers
from engine.train.utilisation import CRITIC, POLICY, REFERENCE, Pass


class PpoTrainer(Trainer):
    """Moves a policy toward what the reward likes, near its reference."""

    spec: PpoSpec

    def __init__(self, spec: PpoSpec, run_dir: Path, ranks: Runtime, journal: Journal) -> None:
        super().__init__(spec, run_dir, ranks, journal)
        with explained("reading the data"):
            self.tokenizer = load_tokenizer(spec, run_dir, ranks)
            models.require_scoring_pad(self.tokenizer)
            self._require_same_tokenizers()
            prompts = self._prompts("train")
            self.eval_prompts = self._prompts("eval")
            if not prompts:
                raise InvalidInput("there is no prompt to train on.", where=spec.data.train)
        self.data: Stream[Prompt] = Stream(prompts, spec.seed)
        self.rows = len(prompts)
        self.total_steps = spec.train.steps or math.ceil(spec.train.epochs * self.rows / spec.rollout.prompts)
        with explained("building the networks"):
            self._build(max(map(len, (*prompts, *self.eval_prompts))))
        self.controller = _controller(spec)
        # The last answers to training prompts: they are the samples where no prompts are held out.
        self._latest: tuple[list[Episode], Composed, list[float]] | None = None

    def _prompts(self, split: Split) -> Sequence[Prompt]:
        prompts = load_prompts(self.spec.data, self.tokenizer, split)
        if self.spec.data.retrieval is None or not prompts:
            return prompts
        read = open_book(prompts, self.spec.data, self.tokenizer, split=split, seed=self.spec.seed, ranks=self.ranks)
        self.journal.event("retrieval", read.told)
        return read.prompts

    def _require_same_tokenizers(self) -> None:
        found = require_same_tokenizers(self.spec, self.tokenizer) if self.ranks.is_main else []
        for sentence in self.ranks.from_main(found):
            self.journal.event("warning", sentence, level=Level.WARNING)

    @property
    def kl_target(self) -> float | None:
        """The divergence that the run aims at, nats per sequence."""
        return self.spec.ppo.kl_target

    def _build(self, longest_prompt: int) -> None:
        spec, ranks, tokenizer = self.spec, self.ranks, self.tokenizer
        networks = self.networks = (SharedNetworks if spec.critic.share_base else SeparateNetworks)(
            spec, tokenizer, ranks
        )
        _require_room(longest_prompt + spec.data.max_response_length, longest_sequence(networks.policy))
        self.learners = networks.learners
        self.judges = Judges(spec, networks, tokenizer, ranks)
        self.reward = Reward(
            spec.rewards, networks.judged, truncation=spec.ppo.truncation, penalty=spec.ppo.truncation_penalty
        )
        limits = Limits(
            eos_id=tokenizer.eos_token_id,
            pad_id=tokenizer.pad_token_id,
            max_response_length=spec.data.max_response_length,
            temperature=spec.rollout.temperature,
            batch_size=spec.rollout.batch_size,
        )
        self.rollout = Rollout(networks, tokenizer, limits, micro_batch_size=spec.train.micro_batch_size, ranks=ranks)
        ptx = load_examples(spec.ptx.data, tokenizer, "train") if spec.ptx is not None else []
        self.update = Update(spec, networks, ptx, pad_id=tokenizer.pad_token_id, ranks=ranks, mark=self.journal.mark)
        decay = spec.ppo.ema_decay
        self.average = MovingAverage(networks.policy_parameters(), decay) if decay is not None else None

    def take_step(self, step: int, stop: StopRequest) -> StepOutcome:
        """Roll out, score, and pass over the rollout as often as the spec says."""
        spec, phases = self.spec, _Phases()
        rows = self.data.batch(self.state.rows_seen, spec.rollout.prompts)
        prompts = [prompt for prompt in rows for _ in range(spec.rollout.samples_per_prompt)]
        self.journal.mark(step, "generate")
        with phases.timed("generate_seconds"):
            seeds = [episode_seed(spec.seed, step, number) for number in range(len(prompts))]
            episodes = self.rollout.sample(prompts, seeds)
        self.journal.mark(step, "score")
        with phases.timed("score_seconds"):
            composed, judged = self._judged(episodes, learn=True)
            scored = self.rollout.score(episodes)
        groups = torch.arange(len(episodes)) // spec.rollout.samples_per_prompt
        experience, statistics = estimate(
            episodes, scored, composed.scores, groups, kl_coef=self.controller.kl_coef, settings=spec.ppo
        )
        self._latest = episodes, composed, _divergences(scored.log_probs, scored.ref_log_probs)
        with phases.timed("train_seconds"):
            policy_lr = self.learning_rate(spec.train.lr, step)
            critic_lr = self.learning_rate(spec.critic.lr or spec.train.lr, step)
            updated, stops = self.update.learn(experience, step, policy_lr, critic_lr, stop)
            if self.average is not None:
                self.average.update()
        losses = {name: value for name, value in updated.items() if name.endswith(("_loss", "grad_norm"))}
        if not updated.get("overflow"):
            self.require_finite(step, **losses)
        if math.isfinite(statistics["kl"]):  # else the health rules say what happens
            self.controller = self.controller.stepped(statistics["kl"], len(episodes))
        return StepOutcome(
            rows=len(rows),
            tokens=sum(map(len, episodes)),
            samples=len(episodes),
            metrics={
                **statistics,
                **{f"reward/{name}": float(values.mean()) for name, values in composed.terms.items()},
                **{f"clipped/{name}": share for name, share in composed.clipped.items()},
                **groundedness(judged.supported),
                **updated,
                "lr": policy_lr,
                **phases.seconds,
            },
            stops=stops,
            passes=[*self._forward(episodes, judged), *self.update.passes],
        )

    def _forward(self, episodes: Sequence[Episode], judged: Judged) -> list[Pass]:
        """Return what goes through the networks when answers are written, judged and scored."""
        lengths = [*map(len, episodes)]
        scoring = (POLICY, CRITIC, REFERENCE) if self.networks.has_critic else (POLICY, REFERENCE)
        read = [Pass(f"rewards.{name}", each) for name, each in judged.read.items()]
        return [Pass(POLICY, lengths), *read, *(Pass(name, lengths) for name in scoring)]

    def _judged(self, episodes: Sequence[Episode], *, learn: bool) -> tuple[Composed, Judged]:
        """Return the reward of answers, and what it is composed of."""
        truncated = torch.tensor([not episode.response.ended for episode in episodes])
        judged = self.judges.judge(episodes)
        return self.reward.compose(judged.values, truncated, learn=learn), judged

    def evaluate(self, step: int) -> tuple[Evaluation, int]:
        """Answer held-out prompts with the likeliest tokens, and judge the answers."""
        train, prompts = self.spec.train, self.eval_prompts
        if train.eval_batches:
            prompts = prompts[: train.eval_batches * train.micro_batch_size]
        if not prompts:
            if self._latest is None:
                return Evaluation({}), 0
            return Evaluation({}, self._samples(*self._latest)), 0
        episodes = self.rollout.sample(prompts, None)
        composed, judged = self._judged(episodes, learn=False)
        scored = self.rollout.score(episodes)
        divergences = _divergences(scored.log_probs, scored.ref_log_probs)
        ends = lengths_and_ends(episodes)
        metrics = {
            "eval_score": float(composed.scores.double().mean()),
            "eval_kl": sum(divergences) / len(divergences),
            "eval_response_length": ends["response_length"],
            "eval_eos_rate": ends["eos_rate"],
            **{f"eval_reward/{name}": float(values.mean()) for name, values in composed.terms.items()},
            **{f"eval_{name}": share for name, share in groundedness(judged.supported).items()},
            **verdicts(episodes, self.spec.data.abstentions),
        }
        return Evaluation(metrics, self._samples(episodes, composed, divergences)), len(episodes)

    def _samples(self, episodes: Sequence[Episode], composed: Composed, divergences: Sequence[float]) -> list[Sample]:
        return [
            Sample(
                "\n".join((*episode.prompt.passages, episode.prompt.text)),
                episode.text,
                " | ".join(episode.prompt.answers) or None,
                {
                    "score": float(composed.scores[index]),
                    **{f"reward/{name}": float(values[index]) for name, values in composed.terms.items()},
                    "kl": divergences[index],
                },
            )
            for index, episode in enumerate(episodes[: self.spec.train.sample_prompts])
        ]

    def remember(self) -> Remembered:
        """Return the KL coefficient, the normalisers, the cursor of the PTX data, and the averaged weights."""
        values = {
            "kl_coef": self.controller.kl_coef,
            "reward": self.reward.state(),
            "ptx_rows_seen": self.update.ptx_rows_seen,
        }
        return Remembered(values, self.average.state(self.ranks) if self.average is not None else {})

    def recall(self, remembered: Remembered) -> Iterable[str]:
        """Go on with what a checkpoint kept."""
        values = remembered.values
        self.controller = _controller(self.spec, values["kl_coef"])
        # Rows go on after a rollback, so a cursor that is further stays.
        self.update.ptx_rows_seen = max(self.update.ptx_rows_seen, values["ptx_rows_seen"])
        told = self.reward.restore(values["reward"])
        if self.average is not None and remembered.tensors:
            self.average.restore(remembered.tensors, self.ranks)
        elif self.average is not None:
            told.append("the checkpoint has no averaged weights, so the average starts from the policy's.")
        return told

    def export(self) -> None:
        """Write the policy to `export`, and its average to `export-average` if there is one."""
        self._export("export", "policy")
        if self.average is not None:
            with self.average.applied():
                self._export("export-average", "averaged_policy")

    def _export(self, name: str, artifact: str) -> None:
        provenance = self.provenance(artifact, self.tokenizer)
        folder = self.run_dir / name
        digest = export_model(self.networks.policy, self.tokenizer, folder, self.ranks, provenance)
        message = f"Exported the {artifact.replace('_', ' ')} to {name}."
        self.journal.event("artifact", message, step=self.state.step, kind=artifact, path=name, sha256=digest)


def _controller(spec: PpoSpec, kl_coef: float | None = None) -> KlController:
    start = spec.ppo.kl_coef if kl_coef is None else kl_coef
    if spec.ppo.kl_target is None:
        return FixedKlController(spec.ppo.kl_coef)
    return AdaptiveKlController(start, spec.ppo.kl_target, spec.ppo.kl_horizon)


def _divergences(log_probs: Sequence[Tensor], ref_log_probs: Sequence[Tensor]) -> list[float]:
    """Return log π/π_ref of each answer, nats per sequence."""
    pairs = zip(log_probs, ref_log_probs, strict=True)
    return [float((own.double() - reference.double()).sum()) for own, reference in pairs]


def _require_room(longest: int, positions: int | None) -> None:
    if positions is not None and longest > positions:
        raise InvalidInput(
            f"the longest prompt and answer have {longest} tokens together and the model has {positions} positions.",
            hint="Lower data.max_prompt_length or data.max_response_length.",
        )


class _Phases:
    """The seconds of each phase of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        began = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[name] = time.perf_counter() - began
