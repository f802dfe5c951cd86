"""What a reward model lowers and where it reads its score, against the definitions, on a real small Llama."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer

from engine.errors import InvalidInput
from engine.generate.models import load_tokenizer
from engine.job.runtime import Runtime
from engine.spec.models import PreferenceData, RmSpec
from engine.spec.sections import Architecture, Model, Train
from engine.train.models import build_reward_model, require_scoring_pad
from engine.train.rm import Pair, RmObjective
from engine.train.scoring import padded, scores_of

ALONE = Runtime(0, 0, 1, torch.device("cpu"))
MARGIN, CENTERING = 0.3, 0.05


@pytest.fixture(scope="module")
def objective(causal: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> RmObjective:
    spec = RmSpec(
        model=Model(path=str(causal)),
        data=PreferenceData(train=str(pairs / "train.jsonl"), max_length=64),
        train=Train(precision="fp32", zero_stage=0),
        margin=MARGIN,
        centering=CENTERING,
    )
    return RmObjective(spec, tmp_path_factory.mktemp("run"), ALONE)


@pytest.fixture(scope="module")
def network(objective: RmObjective) -> Any:
    return objective.build_network({}).eval()


def by_definition(network: Any, sequence: Tensor) -> Tensor:
    """The head on the last hidden state of a sequence alone, without pads."""
    hidden = network.model(input_ids=sequence[None].long()).last_hidden_state
    return network.score(hidden[0, -1])[0]


def gradients(network: Any, loss: Tensor) -> list[Tensor]:
    network.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


def test_the_score_is_read_at_the_end_of_sequence_token_whatever_the_pads(objective: RmObjective, network: Any) -> None:
    sequences = [ids for pair in objective.rows[:6] for ids in (pair.chosen, pair.rejected)]
    assert len(set(map(len, sequences))) > 3
    eos, pad = objective.tokenizer.eos_token_id, objective.tokenizer.pad_token_id
    assert all(ids[-1] == eos and pad not in ids for ids in sequences)
    expected = torch.stack([by_definition(network, ids) for ids in sequences])
    scores = scores_of(network, padded(sequences, pad, ALONE.device))
    wider = functional.pad(padded(sequences, pad, ALONE.device), (0, 5), value=pad)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(scores_of(network, wider), expected, atol=1e-6, rtol=1e-5)


def test_loss_and_gradients_equal_the_definition_for_any_cut(objective: RmObjective, network: Any) -> None:
    rows = objective.rows[:7]
    chosen = torch.stack([by_definition(network, pair.chosen) for pair in rows])
    rejected = torch.stack([by_definition(network, pair.rejected) for pair in rows])
    lead = chosen - rejected
    expected = (-functional.logsigmoid(lead - MARGIN) + CENTERING * (chosen + rejected).square()).sum()
    by_hand = gradients(network, expected)
    for cut in (7, 3, 1):
        parts = [objective.sums(network, rows[begin : begin + cut]) for begin in range(0, len(rows), cut)]
        total = sum(part["loss"] for part in parts)
        assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
        assert sum(float(part["margin"]) for part in parts) == pytest.approx(float(lead.detach().sum()), rel=1e-5)
        assert sum(float(part["accuracy"]) for part in parts) == int((lead > 0).sum())
        for ours, theirs in zip(gradients(network, total), by_hand, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_swapping_the_answers_negates_the_margin_and_turns_the_accuracy(objective: RmObjective, network: Any) -> None:
    rows = objective.rows[:9]
    swapped = [Pair(pair.rejected, pair.chosen, pair.preference) for pair in rows]
    plain = RmObjective.__new__(RmObjective)
    plain.spec = objective.spec.model_copy(update={"margin": 0.0, "centering": 0.0})
    plain.tokenizer, plain.ranks = objective.tokenizer, ALONE
    one, other = plain.sums(network, rows), plain.sums(network, swapped)
    assert float(other["margin"]) == pytest.approx(-float(one["margin"]), rel=1e-5)
    assert float(one["accuracy"]) + float(other["accuracy"]) == len(rows)
    # −log σ(d) + log σ(−d) = −d
    assert float((one["loss"] - other["loss"]).detach()) == pytest.approx(-float(one["margin"]), rel=1e-4)


def test_a_batch_without_pairs_is_zero_with_zero_gradients(objective: RmObjective, network: Any) -> None:
    sums = objective.sums(network, [])
    assert {name: float(value.detach()) for name, value in sums.items()} == {"loss": 0, "accuracy": 0, "margin": 0}
    assert all((gradient == 0).all() for gradient in gradients(network, sums["loss"]))


def test_a_new_head_is_drawn_from_its_normal_distribution_and_the_same_everywhere(
    objective: RmObjective, causal: Path
) -> None:
    wide = Model(architecture=Architecture(hidden_size=4096, layers=1, heads=1, intermediate_size=1))
    train = Train(precision="fp32", zero_stage=0)

    def head(model: Model, seed: int) -> Tensor:
        network: Any = build_reward_model(model, objective.tokenizer, train, seed=seed, zero_config={})
        assert network.score.bias is None
        return network.score.weight.detach()

    assert float(head(wide, 0).std()) == pytest.approx(1 / math.sqrt(4097), rel=0.05)
    torch.testing.assert_close(head(Model(path=str(causal)), 4), head(Model(path=str(causal)), 4), atol=0, rtol=0)
    assert not torch.equal(head(Model(path=str(causal)), 4), head(Model(path=str(causal)), 5))


def padding_with_its_end(folder: Path, **special: str | None) -> Any:
    """The tokenizer of a folder without a pad token of its own."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name, token in ({"pad_token": tokenizer.eos_token} | special).items():
        setattr(tokenizer, name, token)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    return tokenizer


def test_a_tokenizer_that_pads_with_its_end_gets_another_pad_so_that_the_end_is_read(
    objective: RmObjective, network: Any, causal: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "unpadded"
    shutil.copytree(causal, folder)
    tokenizer = padding_with_its_end(folder)
    sequences = [objective.rows[0].chosen, max((pair.chosen for pair in objective.rows), key=len)]
    expected = torch.stack([by_definition(network, ids) for ids in sequences])
    for trap in (True, False):
        if not trap:
            require_scoring_pad(tokenizer)
            assert tokenizer.pad_token == "<|unk|>"
        network.config.pad_token_id = tokenizer.pad_token_id
        scores = scores_of(network, padded(sequences, tokenizer.pad_token_id, ALONE.device))
        assert torch.allclose(scores, expected, atol=1e-6) != trap
    network.config.pad_token_id = objective.tokenizer.pad_token_id

    tokenizer = padding_with_its_end(folder, unk_token=None)
    require_scoring_pad(tokenizer)
    assert tokenizer.pad_token == "<|bos|>"
    tokenizer = padding_with_its_end(folder, unk_token=None, bos_token=None)
    with pytest.raises(InvalidInput, match="pads with its end-of-sequence token") as caught:
        require_scoring_pad(tokenizer)
    assert caught.value.hint == "Add a pad token of its own to the tokenizer and to the model."


def test_the_pad_that_was_chosen_is_in_the_network_and_in_the_tokenizer(
    objective: RmObjective, causal: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "unpadded"
    shutil.copytree(causal, folder)
    tokenizer = padding_with_its_end(folder)
    tokenizer.save_pretrained(folder)
    spec = objective.spec.model_copy(update={"model": Model(path=str(folder))})
    again = RmObjective(spec, tmp_path, ALONE)
    network: Any = again.build_network({})
    assert network.config.pad_token_id == again.tokenizer.pad_token_id != again.tokenizer.eos_token_id
    assert [pair.chosen.tolist() for pair in again.rows] == [pair.chosen.tolist() for pair in objective.rows]


def test_what_cannot_be_a_reward_model_is_told_in_one_sentence(
    objective: RmObjective, causal: Path, tmp_path: Path
) -> None:
    from transformers import BertConfig, BertModel

    folder = tmp_path / "bert"
    shutil.copytree(causal, folder)
    config = BertConfig(
        vocab_size=len(load_tokenizer(causal)),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(folder)
    spec = objective.spec.model_copy(update={"model": Model(path=str(folder))})
    with pytest.raises(InvalidInput, match="a bert model has no linear head for scores"):
        RmObjective(spec, tmp_path, ALONE).build_network({})
    short = spec.data.model_copy(update={"max_length": 3})
    with pytest.raises(InvalidInput, match="there is no pair to train on"):
        RmObjective(objective.spec.model_copy(update={"data": short}), tmp_path, ALONE)
