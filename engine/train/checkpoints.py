"""Checkpoints that are complete or absent.

`checkpoints/.tmp-step-N` is written and synced by all ranks, in each run directory by those that see it, gets a
COMPLETE file that lists every file with its size, and is renamed to `step-N` when all run directories have come so far.
What is not complete is never loaded, and none is removed before a newer one has its name everywhere: a kill at any
moment leaves one that all ranks can load.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
from torch import Tensor

from engine.errors import Refused, RunFailed
from engine.job import durable
from engine.job.runtime import Runtime, explained, random_state, restore_random_state
from engine.train import completeness, disk_states
from engine.train.completeness import UNFINISHED, Key, Offers
from engine.train.resharding import make_universal, universal_loading

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
    """The checkpoints of a run. All ranks make one, each on its own run directory, and call the same methods together.

    Arguments:
        folder: `checkpoints` of the run directory that this rank sees.
        keep: how many stay, in every run directory the same.
    """

    def __init__(self, folder: Path, ranks: Runtime, *, keep: int) -> None:
        self.folder = folder
        self.ranks = ranks
        self.keep = keep

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest complete checkpoint, and a sentence on each newer one that had to be passed over.

        Raises:
            Refused: if it is split over run directories in another way than the ranks are now.
        """
        offers = self._offers()
        key, problems = completeness.choose(offers, self.ranks.folders)
        return self._finished(key, offers), problems

    def before(self, step: int, *, floor: int) -> Checkpoint | None:
        """Return the newest complete checkpoint from before a step and not from before `floor`, if there is one."""
        offers = self._offers()
        earlier = (key for key in completeness.common(offers) if floor <= key.step < step)
        return self._finished(next(earlier, None), offers)

    def save(self, engines: Mapping[str, Any], state: TrainState, tensors: Mapping[str, Tensor]) -> Path:
        """Write a checkpoint of DeepSpeed's engines, by name, and of the state, then remove the oldest ones.

        `tensors` are what else is to be kept; those of rank 0 are, and its state.

        Raises:
            RunFailed: if it cannot be written; the last complete one is still there.
        """
        ranks = self.ranks
        document, token = ranks.from_main((asdict(state), secrets.token_hex(8)))
        key = Key(state.step, token)
        target = self.folder / key.name
        temporary = self.folder / f"{UNFINISHED}{key.name}"
        with explained(f"writing checkpoint {target.name}"):
            if ranks.is_folder_main:
                self._sweep()
                temporary.mkdir(parents=True)
            ranks.barrier()
            self._write_shards(engines, temporary)
            if ranks.folders.are_several:
                tensors = ranks.tensors_from_main(tensors, keeps=ranks.is_folder_main)
            ranks.barrier()
            if ranks.is_folder_main:
                durable.write_json(temporary / STATE, document)
                torch.save(dict(tensors), temporary / TENSORS)
                durable.sync(temporary / TENSORS)
            self._complete(temporary, key, replicated=not any(state.zero_stages.values()))
            ranks.barrier()
            # Complete everywhere: what some run directories have named, the others can still name after a kill.
            if ranks.is_folder_main:
                durable.replace_folder(temporary, target)
            offers = self._offers()
            if ranks.is_folder_main:
                self._prune(offers)
            ranks.barrier()
        return target

    def load(
        self, checkpoint: Checkpoint, engines: Mapping[str, Any], state: TrainState
    ) -> tuple[TrainState, dict[str, Tensor]]:
        """Put engines and random generators back and return state and tensors; `state` is what a run starts with.

        The state is as it was saved, with the number of ranks that saved it. On as many ranks this is exact. Another
        number gets the same weights and optimiser states, and random generators as they are at the start.

        Raises:
            Refused: if the checkpoint was made with another ZeRO stage, precision or other networks.
            RunFailed: if it cannot be read.
        """
        ranks = self.ranks
        saved = _state(checkpoint.folder)
        _require_same_layout(saved, state, checkpoint.folder)
        same_ranks = saved.world_size == ranks.world_size
        with explained(f"loading checkpoint {checkpoint.folder.name}"):
            for name, engine in engines.items():
                reshards = not same_ranks and saved.zero_stages[name] > 0
                _load_engine(engine, checkpoint.folder, name, ranks, reshards=reshards)
            if same_ranks:
                own = checkpoint.folder / _of_rank(ranks.rank)
                restore_random_state(torch.load(own, weights_only=True))
            tensors: dict[str, Tensor] = torch.load(checkpoint.folder / TENSORS, weights_only=True)
        return saved, tensors

    def _write_shards(self, engines: Mapping[str, Any], temporary: Path) -> None:
        """Write what this rank has of the engines, and its random generators."""
        ranks = self.ranks
        for name, engine in engines.items():
            engine.checkpoint_engine = _DurableEngine()
            # Weights that all ranks have alike are saved by rank 0: in each run directory, by whoever is first there.
            engine.save_non_zero_checkpoint |= ranks.is_folder_main
            engine.save_checkpoint(
                str(temporary), tag=name, save_latest=False, exclude_frozen_parameters=_leaves_out_frozen(engine)
            )
            if disk_states.on_disk(engine):
                disk_states.save_states(engine, temporary / name, ranks.rank)
        own = temporary / _of_rank(ranks.rank)
        torch.save(random_state(), own)
        durable.sync(own)

    def _complete(self, temporary: Path, key: Key, *, replicated: bool) -> None:
        ranks = self.ranks
        sizes = ranks.from_all(completeness.sizes(temporary) if ranks.is_folder_main else None)
        if ranks.is_folder_main:
            places = ranks.folders.by_main()
            parts = [(place, sizes[main]) for main, place in places.items()]
            completeness.write(temporary, key, parts, list(places).index(ranks.rank), replicated)

    def _offers(self) -> Offers:
        """Return what each run directory holds. No rank gets it before all folders' mains have come here."""
        ranks = self.ranks
        offers = ranks.from_all(completeness.offer(self.folder) if ranks.is_folder_main else None)
        return {main: offers[main] for main in ranks.folders.by_main()}

    def _finished(self, key: Key | None, offers: Offers) -> Checkpoint | None:
        """Return a checkpoint that is complete everywhere, with its name where a kill came before that."""
        if key is None:
            return None
        ranks, folder = self.ranks, self.folder / key.name
        held = offers[ranks.rank].of(key) if ranks.is_folder_main else None
        if held is not None and not held.is_finished:
            durable.replace_folder(self.folder / held.folder, folder)
        ranks.barrier()
        return Checkpoint(folder, key.step)

    def _sweep(self) -> None:
        """Remove what a killed writer left."""
        for left in (*self.folder.glob(f"{UNFINISHED}*"), *self.folder.glob(".old-*")):
            shutil.rmtree(left, ignore_errors=True)

    def _prune(self, offers: Offers) -> None:
        kept = {key.name for key in completeness.common(offers)[: self.keep]}
        for folder in self.folder.glob("step-*"):
            if folder.is_dir() and folder.name not in kept:
                durable.remove_folder(folder)


def _load_engine(engine: Any, folder: Path, name: str, runtime: Runtime, *, reshards: bool) -> None:
    strict = not _leaves_out_frozen(engine)
    if disk_states.on_disk(engine):
        disk_states.require_same_ranks(folder, same_ranks=not reshards)
    if reshards:
        tag = runtime.from_main(make_universal(folder, name) if runtime.is_folder_main else None)
        runtime.barrier()
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


def _of_rank(rank: int) -> str:
    """Return the file of a rank's random generators."""
    return f"rank-{rank}.pt"
