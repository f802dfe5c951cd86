"""From a spec to its plan: reads what the plan needs of the models that the spec names on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.plan.config import Config, read_json
from engine.plan.place import Place
from engine.plan.ppo import PpoShapes, has_reference, plan_ppo
from engine.plan.rm import plan_rm
from engine.plan.run import Findings, RunPlan
from engine.plan.sft import plan_sft
from engine.plan.shape import ModelShape, shape_of_folder, shape_of_model
from engine.plan.tokenizers import TokenizerFacts, difference, pad_problem, read_template, read_tokenizer
from engine.spec.models import PpoSpec, RmSpec, SftSpec, TrainedSpec
from engine.spec.sections import Lora

_ADAPTER = "adapter"  # the folder of an adapter in that of its model (engine/train/export.py)


def plan_run(
    spec: TrainedSpec, place: Place, *, rows: int | None = None, tokens_per_second: float | None = None
) -> RunPlan:
    """Return the plan of a run whose paths are absolute. Of models only configuration and tokenizer are read.

    Args:
        spec: what is to run.
        place: where it runs, with the placement of the spec applied.
        rows: of the training data; None: unknown.
        tokens_per_second: of all ranks, measured; None: unknown.

    Raises:
        Refused: if the config.json of a model is not on this machine.
        InvalidInput: if that describes no model, or a file of a tokenizer is broken.
    """
    speed = tokens_per_second
    if isinstance(spec, SftSpec):
        return plan_sft(spec, shape_of_model(spec.model), place, rows=rows, tokens_per_second=speed)
    if isinstance(spec, RmSpec):
        shape = shape_of_model(spec.model)
        folder = spec.model.path
        found = Findings(tuple(_pad_errors(read_tokenizer(Path(folder)), "model.path"))) if folder else Findings()
        return plan_rm(spec, shape, place, rows=rows, tokens_per_second=speed, found=found)
    models = _models(spec)
    shapes = PpoShapes(
        policy=models["model"].shape,
        critic=models["critic"].shape if spec.ppo.estimator == "gae" else None,
        reference=models["reference"].shape if has_reference(spec) else None,
        rewards={name: models[f"rewards.{name}"].shape for name, term in spec.rewards.items() if term.kind == "model"},
        adapters=_adapters(spec),
    )
    found = Findings(tuple(_errors(spec, models)), tuple(_warnings(spec, models)))
    return plan_ppo(spec, shapes, place, rows=rows, tokens_per_second=speed, found=found)


@dataclass(frozen=True, slots=True)
class _ModelFacts:
    """A folder that a spec names."""

    folder: Path
    shape: ModelShape
    has_score_head: bool
    tokenizer: TokenizerFacts | None


def _models(spec: PpoSpec) -> dict[str, _ModelFacts]:
    """Return what the spec's models are, by section; one folder is read once."""
    start = spec.model.path or ""
    folders = {"model": start, "critic": start, "reference": start}
    if not spec.critic.share_base:
        folders |= {"critic": spec.critic.path or start, "reference": spec.reference.path or start}
    folders |= {
        f"rewards.{name}": term.path for name, term in spec.rewards.items() if term.path and term.kind == "model"
    }
    if spec.ppo.estimator != "gae":
        del folders["critic"]
    known: dict[str, _ModelFacts] = {}
    for section, folder in folders.items():
        if folder not in known:
            known[folder] = _read(Path(folder), f"{section}.path")
    return {section: known[folder] for section, folder in folders.items()}


def _adapters(spec: PpoSpec) -> dict[str, Lora]:
    """Return the adapters of reward models that stand over the policy's base, by term.

    Raises:
        InvalidInput: if a folder has adapters that are not described.
    """
    found: dict[str, Lora] = {}
    for name, term in spec.rewards.items():
        folder = Path(term.path or "") / _ADAPTER
        if spec.critic.share_base and term.kind == "model" and folder.is_dir():
            file = folder / "adapter_config.json"
            document = read_json(file)
            targets = document.get("target_modules")
            names = [str(target) for target in targets] if isinstance(targets, list) else []
            rank = Config(document, str(file)).number(("r",))
            found[name] = Lora(rank=rank, targets=tuple(names))
    return found


def _read(folder: Path, key: str) -> _ModelFacts:
    shape = shape_of_folder(folder, key)
    architectures: Any = read_json(folder / "config.json").get("architectures")
    named = architectures if isinstance(architectures, list) else []
    has_head = any(str(name).endswith("ForSequenceClassification") for name in named)
    return _ModelFacts(folder, shape, has_head, read_tokenizer(folder))


def _pad_errors(tokenizer: TokenizerFacts | None, key: str) -> Iterator[str]:
    problem = None if tokenizer is None else pad_problem(tokenizer)
    if problem is not None:
        yield f"{key}: {problem}"


def _errors(spec: PpoSpec, models: dict[str, _ModelFacts]) -> Iterator[str]:
    policy = models["model"]
    yield from _pad_errors(policy.tokenizer, "model.path")
    for section, model in models.items():
        key = f"{section}.path"
        if section.startswith("rewards.") and not model.has_score_head:
            yield f"{key} is no reward model: {model.folder} has no head for scores. engine new rm begins one."
        kept = spec.critic.head == "kept" and not spec.critic.share_base
        if section == "critic" and kept and not model.has_score_head:
            yield (
                f"critic.head is kept, and {model.folder} has no head: name a reward model as critic.path, or set it "
                f"to zero."
            )
        if model is policy:
            continue
        differs = None
        if policy.tokenizer is not None and model.tokenizer is not None:
            differs = difference(policy.tokenizer, model.tokenizer)
        if differs is None and policy.shape.vocabulary != model.shape.vocabulary:
            differs = f"{policy.shape.vocabulary:,} embeddings against {model.shape.vocabulary:,}"
        if differs is not None:
            yield f"{key} reads other tokens than model.path ({differs}): both must come from one base."


def _warnings(spec: PpoSpec, models: dict[str, _ModelFacts]) -> Iterator[str]:
    policy = models["model"]
    own = read_template(Path(spec.data.template)) if spec.data.template else None
    if own is None and policy.tokenizer is not None:
        own = policy.tokenizer.template
    for section, model in models.items():
        other = model.tokenizer.template if model.tokenizer is not None and model is not policy else None
        if own is not None and other is not None and own != other:
            yield (
                f"The chat template of {section}.path is another than the policy's: it reads what it was not trained "
                f"on, unless its data.template was that of the prompts."
            )
