"""Proximal policy optimisation: rollouts, rewards by term, and the updates of policy and critic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.job.journal import Journal
    from engine.job.runtime import Runtime
    from engine.spec.models import PpoSpec
    from engine.train.ppo.loop import PpoTrainer


def trainer(spec: PpoSpec, run_dir: Path, ranks: Runtime, journal: Journal) -> PpoTrainer:
    """Read the prompts and build the networks. Raises InvalidInput if they are broken or do not fit together."""
    from engine.train.ppo.loop import PpoTrainer

    return PpoTrainer(spec, run_dir, ranks, journal)
