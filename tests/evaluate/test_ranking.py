"""The measures of rankings are those of trec_eval, through ir-measures."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.evaluate.ranking import DEFAULT_MEASURES, Measure, distinct, ranking_scores

NAMES = ("recall@1", "recall@3", "recall@20", "precision@1", "precision@4", "success@1", "success@5")
NAMES += ("mrr", "mrr@2", "ndcg", "ndcg@3", "ndcg@10", "map", "map@3")
THEIRS = {"recall": "R", "precision": "P", "success": "Success", "mrr": "RR", "ndcg": "nDCG", "map": "AP"}

DOCUMENTS = st.sampled_from([f"d{number}" for number in range(9)])
# Few documents and many draws, so that a document comes twice, some were not judged and some not found.
RANKINGS = st.lists(DOCUMENTS, max_size=12)
JUDGEMENTS = st.dictionaries(DOCUMENTS, st.sampled_from([0, 0, 1, 1, 2, 3]), max_size=8)


def trec_eval(rankings: list[list[str]], judgements: list[dict[str, int]], name: str, least: int) -> list[float]:
    """Return what ir-measures has for each question; one that it leaves out has 0."""
    measure, _, k = name.partition("@")
    theirs = getattr(ir_measures, THEIRS[measure])
    theirs = theirs(rel=least) if least > 1 and measure != "ndcg" else theirs
    depth = None
    if measure == "mrr" and k:  # trec_eval has no depth of it: the run is cut instead
        depth = int(k)
    elif k:
        theirs = theirs @ int(k)
    qrels = [
        ir_measures.Qrel(str(question), document, grade)
        for question, judged in enumerate(judgements)
        for document, grade in judged.items()
    ]
    # It sorts by score, so each rank has one of its own.
    run = [
        ir_measures.ScoredDoc(str(question), document, float(-rank))
        for question, ranking in enumerate(rankings)
        for rank, document in enumerate(distinct(ranking)[:depth])
    ]
    values = [0.0] * len(rankings)
    if qrels and run:
        for found in ir_measures.pytrec_eval.iter_calc([theirs], qrels, run):
            values[int(found.query_id)] = found.value
    return values


@settings(max_examples=100)
@given(st.lists(st.tuples(RANKINGS, JUDGEMENTS), min_size=1, max_size=5), st.integers(1, 2))
def test_measures_equal_those_of_trec_eval(asked: list[tuple[list[str], dict[str, int]]], least: int) -> None:
    rankings, judgements = [ranking for ranking, _ in asked], [judged for _, judged in asked]
    ours = ranking_scores(rankings, judgements, [Measure.parse(name) for name in NAMES], relevant_from=least)
    for name in NAMES:
        golden = trec_eval(rankings, judgements, name, least)
        np.testing.assert_allclose(ours[name], golden, rtol=0, atol=1e-9, err_msg=name)


def test_measures_have_the_values_worked_out_by_hand() -> None:
    # Relevant: b (2), d (1), e (1). Found: a, b, b again, c, d, thus b at rank 2 and d at rank 4.
    names = ("recall@2", "recall@4", "precision@4", "success@1", "success@2", "mrr", "mrr@1", "map", "ndcg")
    ours = ranking_scores([list("abbcd")], [{"b": 2, "d": 1, "e": 1, "c": 0}], [Measure.parse(name) for name in names])
    dcg, best = 2 / np.log2(3) + 1 / np.log2(5), 2 + 1 / np.log2(3) + 1 / 2
    golden = (1 / 3, 2 / 3, 2 / 4, 0, 1, 1 / 2, 0, (1 / 2 + 2 / 4) / 3, dcg / best)
    assert [float(ours[name][0]) for name in names] == pytest.approx(golden)


@settings(max_examples=40)
@given(RANKINGS, JUDGEMENTS)
def test_a_relevant_document_moved_up_never_harms(ranking: list[str], judged: dict[str, int]) -> None:
    ranking = distinct(ranking)
    places = [place for place, document in enumerate(ranking) if judged.get(document, 0) and place]
    if not places:
        return
    better = list(ranking)
    better.insert(places[-1] - 1, better.pop(places[-1]))
    above = judged.get(ranking[places[-1] - 1], 0)
    measures = [Measure.parse(name) for name in NAMES]
    before, after = ranking_scores([ranking], [judged], measures), ranking_scores([better], [judged], measures)
    if judged[ranking[places[-1]]] >= above:
        assert all(after[name][0] >= before[name][0] - 1e-12 for name in NAMES)


def test_questions_without_anything_have_zero() -> None:
    scores = ranking_scores([[], ["a"]], [{}, {}])
    assert list(scores) == [str(measure) for measure in DEFAULT_MEASURES]
    assert all(values.tolist() == [0.0, 0.0] for values in scores.values())
    assert all(values.shape == (0,) for values in ranking_scores([], []).values())


@pytest.mark.parametrize("name", [*NAMES, " nDCG@10 "])
def test_measures_are_read_as_they_are_written(name: str) -> None:
    assert str(Measure.parse(name)) == name.strip().lower()


@pytest.mark.parametrize("name", ["recall", "recall@0", "recall@-1", "mrr@", "rouge@5", "", "ndcg@1e3"])
def test_what_is_no_measure_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no measure of rankings") as refused:
        Measure.parse(name)
    assert repr(name) in refused.value.message
