"""Which charts a run shows, in which order: the same on the screen and in a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Panel = tuple[str, ...]  # names of the series of one chart, the first one gives it its name

_VERDICTS = ("hallucinated", "correct", "abstained")  # the last one is what the others leave
_TRAINING: tuple[Panel, ...] = (
    ("lr",),
    ("grad_norm",),
    ("tokens_per_second",),
    ("mfu",),
    ("seconds_per_step",),
    ("memory_bytes",),
)
_BY_KIND: dict[str, tuple[Panel, ...]] = {
    "sft": (("loss", "eval_loss"), *_TRAINING),
    "rm": (("loss", "eval_loss"), ("accuracy", "eval_accuracy"), ("margin", "eval_margin"), *_TRAINING),
    "ppo": (
        ("score", "eval_score"),
        ("kl",),
        _VERDICTS,
        ("entropy",),
        ("response_length", "eval_response_length"),
        ("value_loss",),
        ("explained_variance",),
        ("clip_fraction",),
        ("tokens_per_second",),
        ("kl_coef",),
        ("policy_loss",),
        ("eos_rate", "eval_eos_rate"),
        ("repetition_rate",),
        ("grad_norm", "value_grad_norm"),
        ("lr",),
        ("mfu",),
        ("seconds_per_step",),
        ("generate_seconds", "score_seconds", "train_seconds"),
        ("memory_bytes",),
    ),
    "rag": (
        ("chunks_per_second",),
        ("tokens_per_second",),
        ("recall@1", "recall@5", "recall@20"),
        ("mrr@10", "ndcg@10"),
        ("memory_bytes",),
        ("chunks",),
        ("index_recall@10",),
        ("bytes",),
        ("query_seconds",),
        ("documents",),
        ("tokens",),
    ),
    "eval": (
        _VERDICTS,
        ("score",),
        ("groundedness", "hit"),
        ("calibration_error", "auroc"),
        ("mc2", "mc1"),
        ("over_refusal",),
        ("citation_recall", "citation_precision"),
        ("tokens_per_second",),
    ),
}
FIRST = 6  # of a kind, before those of groups and terms: what fits onto a screen of 120 x 40
_LAST = ("perplexity", "eval_perplexity", "samples_per_second", "tokens", "epoch")  # told by others already
EXACT = frozenset(
    {"lr", "kl_coef", "tokens", "epoch", "chunks", "documents"}
)  # set or counted, not measured: nothing to smooth


def panels(kind: str, names: Iterable[str]) -> list[Panel]:
    """Return the charts of a run that logged the series `names`: those of its kind first, then the rest.

    After its first `FIRST` charts come those of NAME/GROUP: the verdicts on each group of questions together, and each
    term of the reward, in training and on held-out prompts.
    """
    left = set(names)
    chosen: list[Panel] = []
    told = _BY_KIND.get(kind, (("loss", "eval_loss"), *_TRAINING))
    for panel in (*told[:FIRST], *_of_groups(left), *told[FIRST:]):
        present = tuple(name for name in panel if name in left)
        if present:
            chosen.append(present)
            left -= set(present)
    rest = sorted(left, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name))
    return [*chosen, *((name,) for name in rest)]


def beside(name: str, first: str) -> str:
    """Return what is enough of a name beside that of a chart: of eval_loss beside loss "eval", without its group."""
    if name.endswith(f"_{first}"):
        return name.removesuffix(f"_{first}")
    _, slash, group = first.partition("/")
    return name.removesuffix(slash + group)


def _of_groups(names: Iterable[str]) -> Iterator[Panel]:
    told = sorted(name.partition("/")[::2] for name in names if "/" in name)
    for base, group in told:
        if base == _VERDICTS[0]:
            yield tuple(f"{verdict}/{group}" for verdict in _VERDICTS)
        elif base == "reward":
            yield f"reward/{group}", f"eval_reward/{group}"
