"""Which way a metric is better. Of most it is known; divergence, entropy or length are neither good nor bad alone."""

from __future__ import annotations

_MORE = frozenset(
    {
        *("accuracy", "margin", "score", "reward", "shaped_reward", "explained_variance", "eos_rate"),
        *("correct", "claim_precision", "groundedness", "citation_recall", "citation_precision", "hit", "auroc"),
        *("mc1", "mc2", "recall@k", "mrr@k", "ndcg@k", "index_recall@k"),
        *("tokens_per_second", "samples_per_second", "chunks_per_second", "queries_per_second", "mfu"),
    }
)
_LESS = frozenset(
    {
        *("loss", "perplexity", "ptx_loss", "value_loss", "hallucinated", "over_refusal", "calibration_error"),
        *("repetition_rate", "truncated_rate", "overflow", "logprob_gap", "clipped"),
        *("seconds_per_step", "generate_seconds", "score_seconds", "train_seconds", "sync_seconds", "query_seconds"),
        *("memory_bytes",),
    }
)


def direction_of(name: str) -> int:
    """Return 1 if more is better, -1 if less is, 0 if neither is known.

    `eval_loss` goes with `loss`, `recall@10` with `recall@k`, and `correct/GROUP` with `correct`.
    """
    base, at, rank = name.partition("/")[0].removeprefix("eval_").partition("@")
    base = f"{base}@k" if at and rank.isdecimal() else base + at + rank
    return 1 if base in _MORE else -1 if base in _LESS else 0
