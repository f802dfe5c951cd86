"""The names of all metrics, each with its one unit, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a run logs."""

    unit: str  # "1" for a plain number or a share between 0 and 1
    meaning: str


_TABLE = {
    # objectives
    "loss": Metric("nats", "what the optimiser lowers: the mean negative log-likelihood of a token, or of a choice"),
    "eval_loss": Metric("nats", "the loss on held-out rows"),
    "perplexity": Metric("1", "exp of the loss"),
    "eval_perplexity": Metric("1", "exp of the loss on held-out rows"),
    # reward model
    "accuracy": Metric("1", "share of pairs whose chosen answer has the higher score"),
    "eval_accuracy": Metric("1", "the same on held-out pairs"),
    "margin": Metric("1", "mean score of the chosen answer over the rejected one"),
    "eval_margin": Metric("1", "the same on held-out pairs"),
    "eval_reward": Metric("1", "mean score of the answers of held-out pairs, as the head gives it"),
    "eval_reward_std": Metric("1", "standard deviation of the scores of the answers of held-out pairs"),
    # PPO
    "score": Metric("1", "mean score of the answers: of the reward in PPO, correct − hallucinated in an evaluation"),
    "reward": Metric("1", "mean reward of the answers, all terms weighted and added"),
    "shaped_reward": Metric("1", "mean of score − kl_coef · kl over the answers"),
    "kl": Metric("nats/sequence", "divergence of the policy from the reference, summed over an answer"),
    "kl_per_token": Metric("nats/token", "divergence of the policy from the reference, mean over response tokens"),
    "kl_coef": Metric("1/nat", "weight of the divergence in the reward"),
    "entropy": Metric("nats/token", "mean entropy of the policy over response tokens"),
    "policy_loss": Metric("1", "clipped surrogate objective, negated"),
    "value_loss": Metric("1", "half the clipped squared error of the value"),
    "clip_fraction": Metric("1", "share of response tokens whose probability ratio was clipped"),
    "approx_kl": Metric("nats/token", "divergence of the policy from the one that sampled"),
    "ratio": Metric("1", "mean probability ratio of the policy to the one that sampled"),
    "explained_variance": Metric("1", "share of the variance of the returns that the value explains; may be negative"),
    "eval_score": Metric("1", "mean score of the likeliest answers to held-out prompts"),
    "eval_kl": Metric("nats/sequence", "mean log-ratio of policy to reference on these answers"),
    "eval_response_length": Metric("tokens", "mean length of these answers"),
    "eval_eos_rate": Metric("1", "share of these answers that end by themselves"),
    "clipped": Metric("1", "share of a term's values that were clipped"),
    "ptx_loss": Metric("nats/token", "language-model loss of the policy on the pretraining data"),
    "value_grad_norm": Metric("1", "norm of the critic's gradient before clipping"),
    "early_stops": Metric("1", "whether the passes over a rollout ended early, by their divergence"),
    "advantage": Metric("1", "mean advantage before whitening"),
    "logprob_gap": Metric("nats/token", "mean distance of the sampler's log-probabilities from the trainer's"),
    "response_length": Metric("tokens", "mean length of the answers"),
    "eos_rate": Metric("1", "share of answers that end by themselves"),
    "truncated_rate": Metric("1", "share of answers that were cut at the longest length"),
    "repetition_rate": Metric("1", "share of repeated 4-grams in the answers"),
    # hallucination
    "correct": Metric("1", "share of questions answered correctly"),
    "abstained": Metric("1", "share of questions not answered"),
    "hallucinated": Metric("1", "share of questions answered with something false"),
    "over_refusal": Metric("1", "share of answerable questions not answered"),
    "claim_precision": Metric("1", "share of claims that are true"),
    "groundedness": Metric("1", "share of claims that a retrieved passage states"),
    "eval_groundedness": Metric("1", "the same of the likeliest answers to held-out prompts"),
    "citation_recall": Metric("1", "share of claims that what they cite supports"),
    "citation_precision": Metric("1", "share of citations that support their claim"),
    "hit": Metric("1", "share of answerable questions with a passage that holds the answer"),
    "auroc": Metric("1", "how often a correct answer has more confidence than a hallucinated one"),
    "calibration_error": Metric("1", "expected calibration error of the confidence"),
    "mc1": Metric("1", "share of multiple choices whose best answer is likelier than all wrong ones"),
    "mc2": Metric("1", "mean probability of the right answers of a multiple choice, among all that it offers"),
    # retrieval
    "recall@k": Metric("1", "share of the relevant passages among the first k"),
    "mrr@k": Metric("1", "mean reciprocal rank of the first relevant passage among the first k"),
    "ndcg@k": Metric("1", "normalised discounted cumulative gain of the first k"),
    "documents": Metric("documents", "documents read so far"),
    "chunks": Metric("chunks", "chunks that have vectors so far, those of earlier attempts included"),
    "embedded": Metric("chunks", "chunks that this attempt has embedded so far"),
    "chunks_per_second": Metric("chunks/s", "chunks embedded a second"),
    "index_recall@k": Metric("1", "share of the k nearest vectors that the index finds, against exact search"),
    "bytes": Metric("bytes", "size of the index"),
    "query_seconds": Metric("s", "time of one question alone, the median"),
    "queries_per_second": Metric("queries/s", "questions retrieved for a second"),
    # optimiser
    "lr": Metric("1", "learning rate"),
    "grad_norm": Metric("1", "norm of the gradient before clipping"),
    "overflow": Metric("1", "1 where fp16 overflowed, so that the step changed nothing"),
    # pace
    "tokens_per_second": Metric("tokens/s", "tokens trained on, embedded, or written, a second, over all ranks"),
    "samples_per_second": Metric("samples/s", "rows or episodes trained on a second, over all ranks"),
    "mfu": Metric("1", "model FLOPs utilisation: the share of the GPUs' dense arithmetic that the model needed"),
    "seconds_per_step": Metric("s", "time of an optimiser step"),
    "generate_seconds": Metric("s", "time of a step spent on writing answers"),
    "score_seconds": Metric("s", "time of a step spent on scoring answers"),
    "train_seconds": Metric("s", "time of a step spent on gradients and the optimiser"),
    "sync_seconds": Metric("s", "time of a step spent on moving weights"),
    "memory_bytes": Metric("bytes", "most memory that a rank has held"),
    "tokens": Metric("tokens", "tokens trained on, or embedded, so far"),
    "epoch": Metric("epochs", "passes over the data so far"),
}
METRICS: Mapping[str, Metric] = MappingProxyType(_TABLE)

# The one metric that tells most about an experiment, by its kind.
HEADLINE: Mapping[str, str] = MappingProxyType(
    {
        "sft": "loss",
        "rm": "loss",
        "ppo": "score",
        "rag": "chunks_per_second",
        "eval": "score",
        "sim": "loss",
    }
)


def unit_of(name: str) -> str | None:
    """Return the unit of a metric, or None for one that has none written down.

    `recall@10` is a `recall@k`, and `eval_accuracy/GROUP` is the `eval_accuracy` of a group.
    """
    base, at, rank = name.partition("/")[0].partition("@")
    metric = METRICS.get(f"{base}@k" if at and rank.isdecimal() else f"{base}{at}{rank}")
    return metric.unit if metric else None
