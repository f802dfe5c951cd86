"""The environment variables that torch and DeepSpeed read when they are imported. No heavy imports here."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from engine.errors import Refused

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
# DeepSpeed looks for MPI unless all of these are set; a process alone needs no real address.
_ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
_QUIET = {
    # ZeRO imports an optimiser whose decorator loads the whole compiler: 2 CPU seconds a rank.
    "TORCHDYNAMO_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "DEEPSPEED_LOG_LEVEL": "warning",
}


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Complete the environment of this rank; what the launcher has set stays.

    Understands the variables of torchrun, DeepSpeed and srun; without any of them the process is alone.

    Raises:
        Refused: if a launcher set some of the variables and left out others.
    """
    if "RANK" not in environ and int(environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in environ:
        _from_slurm(environ)
    given = [name for name in _RANK_VARIABLES if name in environ]
    if given and len(given) < len(_RANK_VARIABLES):
        missing = ", ".join(name for name in _RANK_VARIABLES if name not in environ)
        raise Refused(f"the launcher set {', '.join(given)} but not {missing}.")
    for name, value in (_ALONE | _QUIET).items():
        environ.setdefault(name, value)


def _from_slurm(environ: MutableMapping[str, str]) -> None:
    environ["RANK"] = environ["SLURM_PROCID"]
    environ["LOCAL_RANK"] = environ["SLURM_LOCALID"]
    environ["WORLD_SIZE"] = environ["SLURM_NTASKS"]
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_NODELIST", "localhost"))
    environ.setdefault("MASTER_ADDR", first_host(nodes))
    # All tasks of a job agree on its number, and two jobs on one node differ in it.
    environ.setdefault("MASTER_PORT", str(20000 + int(environ.get("SLURM_JOB_ID", "0")) % 20000))


def first_host(nodes: str) -> str:
    """Return the first host of a Slurm node list: `gpu[03-07,9],login` → `gpu03`."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", re.split(r",(?![^\[]*\])", nodes)[0])
