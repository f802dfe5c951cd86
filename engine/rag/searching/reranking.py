"""A second look at what a search found: a cross-encoder reads the query and each passage together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, RunFailed

_KIND = "Give a folder that CrossEncoder.save_pretrained of sentence-transformers wrote, with one label."


class Reranker(Protocol):
    """Says how well passages answer a query."""

    @property
    def name(self) -> str:
        """What it is called to people."""

    def scores(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        """Return a finite number for each passage, the higher the better."""


@dataclass(frozen=True, slots=True)
class CrossEncoderReranker:
    """A cross-encoder in memory. Scores are logits: a sigmoid would round the best to 1 and so make them equal.

    Of a pair that is longer than the model reads, the longer text loses its end.
    """

    name: str
    _model: Any
    _batch_size: int

    def scores(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        """Return the logit of each passage. The same query and passages give the same bits.

        Raises RunFailed if the model gives anything but numbers.
        """
        import torch

        if not passages:
            return np.zeros(0)
        # A text is read once: in another batch the last bits of its score are others, and copies would not be equal.
        texts = list(dict.fromkeys(passages))
        logits = self._model.predict(
            [(query, text) for text in texts],
            batch_size=self._batch_size,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        scores = logits.float().cpu().numpy().astype(np.float64)
        if not np.isfinite(scores).all():
            raise RunFailed(f"the reranker {self.name} gives no number for the query {query!r}.", hint=_KIND)
        score_of = dict(zip(texts, scores.tolist(), strict=True))
        return np.array([score_of[passage] for passage in passages])


def load_reranker(folder: Path, *, device: str | None = None, batch_size: int = 32) -> CrossEncoderReranker:
    """Return the cross-encoder of a folder. Nothing is fetched, and none of the folder's own code is run.

    Args:
        device: as torch names it; None: a GPU if there is one.
        batch_size: pairs at once.

    Raises InvalidInput if the folder holds none.
    """
    _check(folder)
    import torch
    from sentence_transformers import CrossEncoder

    from engine.job.runtime import first_line
    from engine.rag.embedding.folder import missing_weights

    try:
        with missing_weights() as missing:
            model = CrossEncoder(
                str(folder),
                device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
    except Exception as error:  # every library below has exceptions of its own
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise _wrong(folder, f"the reranker cannot be loaded: {first_line(error).rstrip('.')}.") from error
    if missing:
        raise _wrong(folder, f"{len(missing)} weights of the reranker are missing, {missing[0]} first.")
    if model.num_labels != 1:
        raise _wrong(folder, f"this model gives {model.num_labels} scores to a pair, and a reranker gives one.")
    return CrossEncoderReranker(folder.name, model.eval(), batch_size)


def _check(folder: Path) -> None:
    """Refuse before the libraries are loaded, which would draw a missing head at random, or read a pickle."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kinds = list(config.get("architectures") or [])
    except (OSError, ValueError, AttributeError) as error:
        raise _wrong(folder, "there is no reranker: config.json cannot be read.") from error
    # Models that are made of several modules say themselves that they are cross-encoders.
    settings = folder / "config_sentence_transformers.json"
    said = settings.is_file() and '"CrossEncoder"' in settings.read_text(encoding="utf-8", errors="replace")
    if not said and not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        raise _wrong(folder, f"this is no cross-encoder, but a {', '.join(map(str, kinds)) or 'model without a head'}.")
    if not any(folder.glob("*.safetensors")):
        raise _wrong(folder, "the weights of the reranker are no safetensors, and no other format is read.")


def _wrong(folder: Path, message: str) -> InvalidInput:
    return InvalidInput(message, hint=_KIND, where=str(folder))
