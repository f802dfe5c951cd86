"""The environment variables that torch and the tokenizers read when they are imported. No heavy imports here."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_WANTED = {
    # Idle threads that spin slow each other down as soon as a core has two of them.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    # A build tokenises every text three times, and on a GPU that takes longer than embedding it, unless all cores help.
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
}


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Complete the environment of a process that embeds; what is set stays. Call it before torch is imported."""
    for name, value in _WANTED.items():
        environ.setdefault(name, value)
    if "OMP_NUM_THREADS" in environ:  # the threads that a launcher has given this rank
        environ.setdefault("RAYON_NUM_THREADS", environ["OMP_NUM_THREADS"])
