"""A cross-encoder scores a pair as it would alone, long texts window by window, and only if it knows entailment."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import InvalidInput, NotFound, RunFailed
from engine.evaluate.faithfulness.entailment import load_entailment
from engine.evaluate.faithfulness.naming import scorer_from
from engine.evaluate.faithfulness.scorer import Pair
from engine.job.durable import folder_hash
from tests.evaluate.faithfulness.conftest import LONGEST, NLI, WORDS, MakeScorer

CLOSE = 1e-6


def text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def pairs(count: int) -> list[Pair]:
    """Pairs of all lengths, some longer than the model reads, some with a question, some with nothing."""
    draw = random.Random(0)
    made = [
        Pair(
            tuple(text(draw, draw.choice([1, 5, 20, 90])) for _ in range(draw.randint(0, 3))),
            text(draw, draw.choice([1, 3, 11])),
            draw.choice(["", "w1 w2"]),
        )
        for _ in range(count)
    ]
    return [*made, Pair(("w1",), " "), Pair((" ", ""), "w1"), made[3], made[3]]


def logits_alone(network: Any, tokenizer: Any, premise: str, claim: str) -> torch.Tensor:
    with torch.no_grad():
        return network(**tokenizer(premise, claim, return_tensors="pt")).logits[0].double()  # type: ignore[no-any-return]


def test_every_pair_scores_as_it_would_alone(make_scorer: MakeScorer) -> None:
    folder = make_scorer()
    asked = pairs(40)
    together = scorer_from(f"nli:{folder}", batch_size=7)
    scores = together.score(asked)
    alone = scorer_from(f"nli:{folder}", batch_size=1)
    assert scores == pytest.approx([alone.score([pair])[0] for pair in asked], abs=CLOSE)
    assert scores == together.score(asked)
    assert all(
        (score == 0) == (not pair.claim.strip() or not "".join(pair.premises).strip())
        for score, pair in zip(scores, asked, strict=True)
    )
    assert max(scores) - min(score for score in scores if score) > 0.2
    assert (together.name, together.sha256) == (f"nli:{folder}", folder_hash(folder))


def windows(premise: Sequence[str], room: int, overlap: int) -> list[str]:
    starts = range(0, max(1, len(premise) - overlap), room - overlap)
    return [" ".join(premise[start : start + room]) for start in starts]


def test_long_texts_are_read_in_windows_of_which_the_best_counts(make_scorer: MakeScorer) -> None:
    folder = make_scorer()
    model = load_entailment(folder, device="cpu")
    network, tokenizer, draw = model._network, model._tokenizer, random.Random(1)

    def entails(premise: str, claim: str) -> float:
        return float(logits_alone(network, tokenizer, premise, claim).softmax(-1)[1])

    for length in (5, 24, 25, 26, 70, 300):
        premise, claim = text(draw, length), text(draw, 5)
        parts = windows(premise.split(), LONGEST - 3 - 5, LONGEST // 8)
        assert len(parts) > 1 or length <= 24
        expected = max(entails(part, claim) for part in parts)
        assert model.probabilities([(premise, claim)]) == pytest.approx([expected], abs=CLOSE)
    # A claim that takes more than half is read in pieces, of which the worst counts: nothing of it is left out.
    most = LONGEST // 2 - 4
    for _ in range(4):
        claim = text(draw, 2 * most + 5).split()
        expected = min(entails("w7 w8", " ".join(claim[at : at + most])) for at in (0, most, 2 * most))
        assert model.probabilities([("w7 w8", " ".join(claim))]) == pytest.approx([expected], abs=CLOSE)


@pytest.mark.parametrize(
    "labels", [NLI, {0: "LABEL_0"}, {0: "entailment", 1: "not_entailment"}, {0: "refuted", 1: "supported"}]
)
def test_what_labels_mean_is_read_from_the_model(make_scorer: MakeScorer, labels: dict[int, str]) -> None:
    model = load_entailment(make_scorer(labels), device="cpu")
    logits = logits_alone(model._network, model._tokenizer, "w1 w2", "w3")
    (entailment,) = model.probabilities([("w1 w2", "w3")])
    (consistency,) = model.probabilities([("w1 w2", "w3")], "consistency")
    each = logits.sigmoid() if len(labels) == 1 else logits.softmax(-1)
    at = {0: 0} if len(labels) == 1 else {number: name.lower() for number, name in labels.items()}
    place = next(number for number, name in at.items() if name in (0, "entailment", "supported"))
    assert entailment == pytest.approx(float(each[place]), abs=CLOSE)
    against = [number for number, name in at.items() if name in ("contradiction", "refuted")]
    expected = each[place] / (each[place] + each[against[0]]) if against else each[place]
    assert consistency == pytest.approx(float(expected), abs=CLOSE)


def changed(folder: Path, **settings: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return folder


def test_what_is_no_scorer_is_refused_in_one_sentence(make_scorer: MakeScorer, tmp_path: Path) -> None:
    def refused(folder: Path, said: str) -> None:
        with pytest.raises(InvalidInput, match=said) as told:
            scorer_from(f"nli:{folder}", device="cpu")
        assert told.value.where == str(folder)

    refused(make_scorer({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}), "unclear which of the labels label_0, label_1")
    refused(make_scorer({0: "entailment", 1: "entails"}), "unclear which")
    refused(changed(make_scorer(), auto_map={"AutoModel": "own.Model"}), r"brings code of its own \(own\.Model\)")
    refused(changed(make_scorer(), architectures=["BertModel"]), "no scorer, but a BertModel")
    refused(changed(make_scorer(), num_hidden_layers=3), r"weights of the scorer are missing, bert\.encoder\.layer\.2")
    pickled = make_scorer()
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused(pickled, "the scorer cannot be loaded")
    damaged = make_scorer()
    (damaged / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    refused(damaged, "the scorer cannot be loaded")
    (tmp_path / "config.json").write_text("[]")
    refused(tmp_path, "config.json cannot be read")
    with pytest.raises(NotFound, match="there is no scorer"):
        scorer_from(f"nli:{tmp_path / 'nowhere'}")
    for name in ("nli:", "nil:x", "", "lexical:x", "selfcheck"):
        with pytest.raises(InvalidInput, match="there is no scorer"):
            scorer_from(name)
    with pytest.raises(InvalidInput, match="not between 0 and 1"):
        scorer_from("exact", threshold=1.5)


def test_scores_that_are_no_numbers_are_not_scores(make_scorer: MakeScorer) -> None:
    model = load_entailment(make_scorer(), device="cpu")
    with torch.no_grad():
        model._network.classifier.bias.fill_(float("nan"))
    with pytest.raises(RunFailed, match="no numbers"):
        model.probabilities([("w1", "w2")])
