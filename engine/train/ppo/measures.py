"""How held-out answers stand to what is known, over all and by group, without passages and with; and to passages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from torch import Tensor

from engine.data.answers import verdict
from engine.train.ppo.episodes import Episode

# The most groups that are logged: the largest ones.
_GROUPS = 12
_VERDICTS = ("correct", "abstained", "hallucinated")


def verdicts(episodes: Sequence[Episode], abstentions: Sequence[str]) -> dict[str, float]:
    """Return the share of each verdict, and of each in a group, among answers to prompts whose answer is known.

    Closed-book prompts and those with passages (`correct/with_passages`) are counted apart.
    """
    closed = [episode for episode in episodes if not episode.prompt.passages]
    opened = [episode for episode in episodes if episode.prompt.passages]
    return _verdicts(closed, abstentions, "") | _verdicts(opened, abstentions, "/with_passages")


def groundedness(supported: Tensor) -> dict[str, float]:
    """Return the mean share of the claims that passages support, of the answers that have one.

    Arguments:
        supported: float64 [episodes], NaN for an answer without passages or claims.
    """
    shares = supported[supported.isfinite()]
    return {"groundedness": float(shares.mean())} if len(shares) else {}


def _verdicts(episodes: Sequence[Episode], abstentions: Sequence[str], ending: str) -> dict[str, float]:
    by_group: dict[str, Counter[str]] = defaultdict(Counter)
    every: Counter[str] = Counter()
    for episode in episodes:
        prompt = episode.prompt
        if not prompt.answers and prompt.answerable is not False:
            continue
        found = verdict(episode.text, prompt.answers, prompt.answerable, abstentions)
        every[found] += 1
        if prompt.group is not None:
            by_group[prompt.group][found] += 1
    largest = sorted(by_group, key=lambda group: (-by_group[group].total(), group))[:_GROUPS]
    counted = [("", every)] if every else []
    counted += [(f"/{group}", by_group[group]) for group in sorted(largest)]
    return {
        f"{name}{suffix}{ending}": counts[name] / counts.total() for suffix, counts in counted for name in _VERDICTS
    }
