"""Checkpoints that are complete or absent.

`checkpoints/.tmp-step-N` is written and synced by all ranks, gets a COMPLETE file that lists every file with its size,
and is then renamed to `step-N`. What is not complete is never loaded, and never removed before a newer one is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
from torch import Tensor

from engine.errors import Refused, RunFailed
from engine.train import disk_states, durable
from engine.train.resharding import make_universal, universal_loading
from engine.train.runtime import Runtime, explained, random_state, restore_random_state

COMPLETE = "COMPLETE"
STATE = "state.json"
TENSORS = "tensors.pt"


@dataclass(frozen=True, slots=True)
class TrainState:
    """Where the training stands after `step` optimiser steps, besides weights, optimiser and random generators."""

    step: int
    rows_seen: int  # the data cursor: rows of the endless, shuffled stream that were used
    tokens: int  # tokens trained on
    rows: int  # rows of the training data
    seed: int
    world_size: int
    zero_stages: dict[str, int]  # by the name of the network
    precision: str
    settled: dict[str, float] = field(default_factory=dict)  # what the objective measured after the last step
    rollbacks: int = 0
    rolled_back_at: int = 0  # step of the last rollback
    health: dict[str, Any] = field(default_factory=dict)  # what the health rules remember
    own: dict[str, Any] = field(default_factory=dict)  # what the kind remembers


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    step: int


class _DurableEngine(TorchCheckpointEngine):
    """DeepSpeed's way to write its files, synced."""

    def save(self, state_dict: Any, path: str) -> None:
        super().save(state_dict, path)
        durable.sync(Path(path))


class Checkpoints:
    """The checkpoints of one run directory; `save` and `load` are called by all ranks together."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest complete checkpoint, and a sentence on each newer one that had to be passed over."""
        problems: list[str] = []
        for folder in self._by_age():
            problem = _problem(folder)
            if problem is None:
                return Checkpoint(folder, _step(folder)), problems
            problems.append(f"checkpoint {folder.name} is ignored: {problem}.")
        return None, problems

    def save(
        self, engines: Mapping[str, Any], state: TrainState, tensors: Mapping[str, Tensor], runtime: Runtime
    ) -> Path:
        """Write a checkpoint of DeepSpeed's engines, by name, and of the state, then remove the oldest ones.

        `tensors` are what else is to be kept; those of rank 0 are.

        Raises:
            RunFailed: if it cannot be written; the last complete one is still there.
        """
        target = self.folder / f"step-{state.step:08d}"
        temporary = self.folder / f".tmp-{target.name}"
        with explained(f"writing checkpoint {target.name}"):
            if runtime.is_main:
                self._sweep()
                temporary.mkdir(parents=True)
            runtime.barrier()
            for name, engine in engines.items():
                engine.checkpoint_engine = _DurableEngine()
                engine.save_checkpoint(
                    str(temporary), tag=name, save_latest=False, exclude_frozen_parameters=_leaves_out_frozen(engine)
                )
                if disk_states.on_disk(engine):
                    disk_states.save_states(engine, temporary / name, runtime.rank)
            own = temporary / f"rank-{runtime.rank}.pt"
            torch.save(random_state(), own)
            durable.sync(own)
            runtime.barrier()
            if runtime.is_main:
                durable.write_json(temporary / STATE, asdict(state))
                torch.save(dict(tensors), temporary / TENSORS)
                durable.sync(temporary / TENSORS)
                sizes = {
                    str(file.relative_to(temporary)): file.stat().st_size for file in durable.files_below(temporary)
                }
                durable.write_json(temporary / COMPLETE, {"step": state.step, "files": sizes})
                durable.sync_folders(temporary)
                durable.replace_folder(temporary, target)
                self._prune()
            runtime.barrier()
        return target

    def load(
        self, checkpoint: Checkpoint, engines: Mapping[str, Any], state: TrainState, runtime: Runtime
    ) -> tuple[TrainState, dict[str, Tensor]]:
        """Put engines and random generators back and return state and tensors; `state` is what a run starts with.

        The state is as it was saved, with the number of ranks that saved it. On as many ranks this is exact. Another
        number gets the same weights and optimiser states, and random generators as they are at the start.

        Raises:
            Refused: if the checkpoint was made with another ZeRO stage, precision or other networks.
            RunFailed: if it cannot be read.
        """
        saved = _state(checkpoint.folder)
        _require_same_layout(saved, state, checkpoint.folder)
        same_ranks = saved.world_size == runtime.world_size
        with explained(f"loading checkpoint {checkpoint.folder.name}"):
            for name, engine in engines.items():
                reshards = not same_ranks and saved.zero_stages[name] > 0
                _load_engine(engine, checkpoint.folder, name, runtime, reshards=reshards)
            if same_ranks:
                own = checkpoint.folder / f"rank-{runtime.rank}.pt"
                restore_random_state(torch.load(own, weights_only=True))
            tensors: dict[str, Tensor] = torch.load(checkpoint.folder / TENSORS, weights_only=True)
        return saved, tensors

    def before(self, step: int, *, floor: int) -> Checkpoint | None:
        """Return the newest complete checkpoint from before a step and not from before `floor`, if there is one."""
        return next(
            (
                Checkpoint(folder, _step(folder))
                for folder in self._by_age()
                if floor <= _step(folder) < step and _problem(folder) is None
            ),
            None,
        )

    def _by_age(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("step-*") if path.is_dir()), key=_step, reverse=True)

    def _sweep(self) -> None:
        """Remove what a killed writer left."""
        for left in (*self.folder.glob(".tmp-*"), *self.folder.glob(".old-*")):
            shutil.rmtree(left, ignore_errors=True)

    def _prune(self) -> None:
        complete = [folder for folder in self._by_age() if _problem(folder) is None]
        for folder in self._by_age():
            if folder not in complete[: self.keep]:
                durable.remove_folder(folder)


def _load_engine(engine: Any, folder: Path, name: str, runtime: Runtime, *, reshards: bool) -> None:
    strict = not _leaves_out_frozen(engine)
    if disk_states.on_disk(engine):
        disk_states.require_same_ranks(folder, same_ranks=not reshards)
    if reshards:
        tag = runtime.from_main(make_universal(folder, name) if runtime.is_main else None)
        with universal_loading(engine):
            path, _ = engine.load_checkpoint(str(folder), tag=tag, load_module_strict=strict)
    else:
        path, _ = engine.load_checkpoint(str(folder), tag=name, load_module_strict=strict)
    if path is None:
        raise RunFailed(f"DeepSpeed found no checkpoint of the {name}.", where=str(folder))
    if disk_states.on_disk(engine):
        disk_states.load_states(engine, folder / name, runtime.rank)


def _leaves_out_frozen(engine: Any) -> bool:
    """Whether what does not train is left out: the weights under adapters, which their folder has.

    ZeRO 3 keeps them: its converter for another number of ranks wants all there is.
    """
    return engine.zero_optimization_stage() < 3 and not all(p.requires_grad for p in engine.module.parameters())


def _state(folder: Path) -> TrainState:
    try:
        return TrainState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise Refused(
            "the checkpoint was made by another version of the program.",
            hint="Resume it with that version, or start a new run from its exported model.",
            where=str(folder),
        ) from error


def _require_same_layout(saved: TrainState, state: TrainState, folder: Path) -> None:
    differs = [(f"precision {saved.precision}", state.precision)] if saved.precision != state.precision else []
    for name in dict.fromkeys((*saved.zero_stages, *state.zero_stages)):
        was, now = saved.zero_stages.get(name), state.zero_stages.get(name)
        if was is None or now is None:
            differs.append((f"no {name}" if was is None else f"a {name}", "one" if was is None else "none"))
        elif was != now:
            differs.append((f"ZeRO stage {was} of the {name}", str(now)))
    for made_with, has in differs:
        raise Refused(
            f"the checkpoint was made with {made_with}, this run has {has}.",
            hint="Resume it as it was, or start a new run from its exported model.",
            where=str(folder),
        )


def _step(folder: Path) -> int:
    digits = folder.name.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


def _problem(folder: Path) -> str | None:
    """Return why a checkpoint cannot be used, or None if it can."""
    try:
        files = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["files"]
        return next(_differences(folder, files), None)
    except FileNotFoundError:
        return "it has no COMPLETE file"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its COMPLETE file is damaged"


def _differences(folder: Path, files: dict[str, int]) -> Iterator[str]:
    for name, size in files.items():
        file = folder / name
        if not file.is_file():
            yield f"{name} is missing"
        elif file.stat().st_size != size:
            yield f"{name} has {file.stat().st_size} bytes instead of {size}"
