"""The specs that the checks of a GPU run: tiny models from scratch over the built-in facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 20
SHAPE = {"hidden_size": 128, "layers": 3, "heads": 4, "intermediate_size": 352, "max_positions": 128}


@dataclass(frozen=True, slots=True)
class Specs:
    """Specs over the facts in a folder."""

    facts: Path

    def settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the section `train`."""
        return {
            "steps": STEPS,
            "batch_size": 64,
            "micro_batch_size": 32,
            "lr": 1e-3,
            "precision": "fp32",
            "zero_stage": 2,
            "eval_batches": 2,
            "sample_prompts": 2,
            "sample_tokens": 4,
            **settings,
        }

    def sft(self, model: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None, **train: Any) -> Any:
        """Return a spec: a tiny model from scratch."""
        files = {"train": str(self.facts / "sft.jsonl"), "eval": str(self.facts / "sft-eval.jsonl"), "max_length": 96}
        made = {"architecture": SHAPE, "tokenizer": {"kind": "word"}}
        return {
            "kind": "sft",
            "model": made | dict(model or {}),
            "data": files | dict(data or {}),
            "train": self.settings(train),
        }

    def rm(self, base: Path, model: Mapping[str, Any] | None = None, **train: Any) -> Any:
        """Return a spec: over what fine-tuning made."""
        files = {
            "train": str(self.facts / "preferences.jsonl"),
            "eval": str(self.facts / "preferences-eval.jsonl"),
            "max_length": 96,
        }
        own = {"path": str(base), **(model or {})}
        return {"kind": "rm", "model": own, "data": files, "train": self.settings({"steps": 8, **train})}

    def ppo(self, policy: Path, judge: Path, settings: Mapping[str, Mapping[str, Any]], **train: Any) -> Any:
        """Return a spec: three rollouts of 96 answers."""
        spec: dict[str, Any] = {
            "kind": "ppo",
            "model": {"path": str(policy)},
            "rewards": {"judge": {"path": str(judge), "clip": 3.0}},
            "data": {
                "train": str(self.facts / "prompts.jsonl"),
                "eval": str(self.facts / "prompts-eval.jsonl"),
                "max_prompt_length": 32,
                "max_response_length": 8,
            },
            "rollout": {"prompts": 48, "samples_per_prompt": 2, "batch_size": 96},
            "train": self.settings({"steps": 3, "batch_size": 48, "micro_batch_size": 24, "lr": 3e-4, **train}),
        }
        for section, changed in settings.items():
            spec[section] = changed if section == "ppo" else {**spec.get(section, {}), **changed}
        return spec
