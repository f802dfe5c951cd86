"""Scorers by their names."""

from __future__ import annotations

from pathlib import Path

from engine.errors import InvalidInput
from engine.evaluate.faithfulness.inference import Inference
from engine.evaluate.faithfulness.scorer import Scorer
from engine.evaluate.faithfulness.selfcheck import SelfCheckEmbeddings, SelfCheckInference, SelfCheckUnigram
from engine.evaluate.faithfulness.words import Exact, Lexical, LexicalBigrams

_WITHOUT_MODEL: dict[str, type[Exact | Lexical | LexicalBigrams | SelfCheckUnigram]] = {
    scorer.name: scorer for scorer in (Exact, Lexical, LexicalBigrams, SelfCheckUnigram)
}
_WITH_MODEL = ("nli", "selfcheck:nli", "selfcheck:embed")
NAMES = (*_WITHOUT_MODEL, *(f"{kind}:FOLDER" for kind in _WITH_MODEL))


def scorer_from(
    name: str, *, threshold: float | None = None, device: str | None = None, batch_size: int = 32
) -> Scorer:
    """Return the scorer of a name, one of `NAMES`.

    Arguments:
        threshold: the least score of a supported claim; None: the scorer's own.
        device, batch_size: of its model, if it has one.

    Raises:
        InvalidInput: if no scorer has the name, the threshold is not 0 … 1, or the folder does not hold its model.
        NotFound: if there is nothing in the folder.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidInput(f"the threshold {threshold:g} is not between 0 and 1.", where=name)
    own = {} if threshold is None else {"threshold": threshold}
    if name in _WITHOUT_MODEL:
        return _WITHOUT_MODEL[name](**own)
    kind = next((kind for kind in _WITH_MODEL if name.startswith(f"{kind}:") and name != f"{kind}:"), None)
    if kind is None:
        raise InvalidInput(f"there is no scorer {name!r}.", hint=f"There are {', '.join(NAMES)}.")
    folder = Path(name.removeprefix(f"{kind}:"))
    if kind == "selfcheck:embed":
        from engine.rag.embedding.embedder import load_encoder
        from engine.spec.rag import Embedder

        # One precision and batch, not the fastest of a trial: scores do not depend on the machine.
        settings = Embedder(path=str(folder), precision="fp32", batch_size=batch_size)
        return SelfCheckEmbeddings(load_encoder(settings, device=device), str(folder), **own)
    from engine.evaluate.faithfulness.entailment import load_entailment
    from engine.job.durable import folder_hash

    model, sha256 = load_entailment(folder, device=device, batch_size=batch_size), folder_hash(folder)
    return Inference(model, sha256, **own) if kind == "nli" else SelfCheckInference(model, sha256, **own)
