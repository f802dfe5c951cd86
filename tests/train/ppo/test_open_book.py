"""Open-book prompts: who carries passages, what the policy reads of them, and that nothing is learned on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from engine.data.prompts import Prompt, load_prompts
from engine.data.tokenizers import train_tokenizer
from engine.errors import InvalidInput
from engine.generate.grounding import Evidence
from engine.generate.sampling import Response
from engine.job.runtime import Runtime
from engine.rag.records import Chunk, Passage
from engine.spec.ppo import PromptData, Retrieval
from engine.spec.sections import Data, Tokenizer
from engine.train.ppo.episodes import Episode, EpisodeBatch
from engine.train.ppo.open_book import OpenBook, open_book

NAMES = [f"Name{number}" for number in range(200)]


class Alone:
    """The only rank."""

    is_main = True

    def from_main(self, value: Any) -> Any:
        return value


class Told(Alone):
    """A rank that is told what rank 0 found, and must not search."""

    is_main = False

    def __init__(self, found: Any) -> None:
        self._found = found

    def from_main(self, value: Any) -> Any:
        assert value == []
        return self._found


class Index:
    """Finds the passages that share a name with the question, none about even ones where `finds_all` is false."""

    def __init__(self, *, finds_all: bool = True, words: int = 0) -> None:
        self.asked: list[tuple[int, int, str, str]] = []
        self._finds_all, self._more = finds_all, " long" * words

    def search(self, queries: Sequence[str], k: int, *, mode: str, fusion: str) -> list[list[Passage]]:
        self.asked.append((len(queries), k, mode, fusion))
        found = []
        for query in queries:
            name = next(name for name in reversed(NAMES) if name in query)
            lacks = not self._finds_all and int(name.removeprefix("Name")) % 2 == 0
            texts = [f"{name} was born in Zelt.{self._more}", "The town is small."][:k]
            chunks = [Chunk(f"c{rank}", "d", 0, len(text), text) for rank, text in enumerate(texts)]
            found.append([] if lacks else [Passage(rank, 1.0, chunk, "", "", {}) for rank, chunk in enumerate(chunks)])
        return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PromptData:
    folder = tmp_path_factory.mktemp("asked")
    answers = ["Zelt", "Oslo"]
    rows = [
        f'{{"prompt": "Where was {name} born?", "answers": ["{answers[number % 2]}"], "evidence": "It was Zelt."}}\n'
        for number, name in enumerate(NAMES)
    ]
    (folder / "prompts.jsonl").write_text("".join(rows))
    return PromptData(train=str(folder / "prompts.jsonl"), eval=str(folder / "prompts.jsonl"))


@pytest.fixture(scope="module")
def tokenizer(data: PromptData, tmp_path_factory: pytest.TempPathFactory) -> Any:
    text = tmp_path_factory.mktemp("text") / "text.txt.jsonl"
    text.write_text('{"text": "Where was born?\\n in Zelt. Oslo It The town is small. long ' + " ".join(NAMES) + '"}\n')
    return train_tokenizer(Tokenizer(kind="word"), Data(train=str(text), format="text"))


def opened(data: PromptData, tokenizer: Any, index: Index, **settings: Any) -> OpenBook:
    """What a run asks. Settings: of the retrieval, but for split, seed, longest prompt and ranks."""
    split, seed, longest = settings.pop("split", "train"), settings.pop("seed", 0), settings.pop("longest", 64)
    ranks = settings.pop("ranks", Alone())
    read = data.model_copy(
        update={"retrieval": Retrieval(index="index", **settings), "max_prompt_length": longest},
    )
    prompts = load_prompts(read, tokenizer, split)
    return open_book(
        prompts,
        read,
        tokenizer,
        split=split,
        seed=seed,
        ranks=cast(Runtime, ranks),
        opening=lambda retrieval: index,
    )


def carrying(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.place for prompt in prompts if prompt.passages]


def test_a_share_of_the_training_prompts_carries_passages_and_the_seed_decides_which(
    data: PromptData, tokenizer: Any
) -> None:
    first, again, other = (opened(data, tokenizer, Index(), share=0.4, seed=seed).prompts for seed in (3, 3, 4))
    assert len(first) == len(NAMES) and [prompt.text for prompt in first] == [prompt.text for prompt in other]
    assert 50 < len(carrying(first)) < 110
    assert carrying(first) == carrying(again) != carrying(other)
    assert not carrying(opened(data, tokenizer, Index(), share=0.0).prompts)
    assert len(carrying(opened(data, tokenizer, Index(), share=1.0).prompts)) == len(NAMES)


@pytest.mark.parametrize(("share", "ways"), [(0.0, [False]), (0.3, [False, True]), (1.0, [True])])
def test_held_out_prompts_are_asked_both_ways_next_to_each_other(
    data: PromptData, tokenizer: Any, share: float, ways: list[bool]
) -> None:
    asked = opened(data, tokenizer, Index(), split="eval", share=share).prompts
    assert [bool(prompt.passages) for prompt in asked] == ways * len(NAMES)
    assert [prompt.text for prompt in asked[:: len(ways)]] == [
        prompt.text for prompt in asked[len(ways) - 1 :: len(ways)]
    ]


def test_the_policy_reads_the_passages_before_the_question_and_the_question_stays_bare(
    data: PromptData, tokenizer: Any
) -> None:
    index = Index()
    prompt = opened(data, tokenizer, index, passages=2, mode="hybrid", fusion="scores").prompts[5]
    assert index.asked == [(len(NAMES), 2, "hybrid", "scores")]
    assert prompt.passages == ("Name5 was born in Zelt.", "The town is small.")
    assert prompt.text == "Where was Name5 born?" == prompt.messages[-1].content
    read = "<|bos|><|user|> Name5 was born in Zelt.\nThe town is small.\nWhere was Name5 born?<|assistant|>"
    assert tokenizer.decode(list(prompt.ids)) == read


def test_where_nothing_is_found_a_prompt_is_closed_book_and_asked_once(data: PromptData, tokenizer: Any) -> None:
    for split in ("train", "eval"):
        asked = opened(data, tokenizer, Index(finds_all=False), split=split, share=1.0).prompts
        assert [bool(prompt.passages) for prompt in asked] == [False, True] * (len(NAMES) // 2)
    both = opened(data, tokenizer, Index(finds_all=False), split="eval", share=0.5).prompts
    assert [bool(prompt.passages) for prompt in both] == [False, False, True] * (len(NAMES) // 2)


def test_passages_come_in_while_they_fit_and_no_prompt_is_longer_than_the_limit(
    data: PromptData, tokenizer: Any
) -> None:
    for style in ("plain", "numbered"):
        (bare,) = {len(prompt) for prompt in opened(data, tokenizer, Index(), share=0.0).prompts}
        seen = set()
        for longest in range(bare, 120, 12):
            asked = opened(data, tokenizer, Index(words=9), passages=2, style=style, longest=longest).prompts
            assert len(asked) == len(NAMES) and max(map(len, asked)) <= longest
            seen |= {len(prompt.passages) for prompt in asked}
        assert seen == {0, 1, 2}


def test_what_was_said_before_the_question_stays_and_takes_its_room(tokenizer: Any, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Where is Zelt?"},
        {"role": "assistant", "content": "The town is small."},
        {"role": "user", "content": "Where was Name7 born?"},
    ]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"prompt": turns}) + "\n")
    chats = PromptData(train=str(tmp_path / "chats.jsonl"))
    (prompt,) = opened(chats, tokenizer, Index()).prompts
    before, text = tokenizer.decode(list(prompt.ids)).split("<|eos|>")
    assert before.endswith("The town is small.")
    assert text == "<|user|> Name7 was born in Zelt.\nWhere was Name7 born?<|assistant|>"
    (whole,) = opened(chats, tokenizer, Index(), passages=2).prompts
    (shorter,) = opened(chats, tokenizer, Index(), passages=2, longest=len(whole) - 1).prompts
    assert len(prompt.passages) == 1 and len(whole.passages) == 2
    assert len(shorter) < len(whole) and shorter.passages == prompt.passages


def test_it_is_told_how_many_carry_passages_and_how_many_of_these_hold_an_answer(
    data: PromptData, tokenizer: Any
) -> None:
    told = opened(data, tokenizer, Index(), split="eval", share=0.5).told
    # Every second answer is Oslo, which no passage says.
    assert (
        told == "200 of 400 prompts (eval) carry passages; of 200 with a known answer, 100 have it in their passages."
    )


def test_all_ranks_get_what_rank_0_finds_and_its_error(data: PromptData, tokenizer: Any) -> None:
    index = Index()
    found = [[Evidence(f"{name} was born in Zelt.")] for name in NAMES]
    assert opened(data, tokenizer, index, ranks=Told(found)).prompts == opened(data, tokenizer, Index()).prompts
    assert index.asked == []
    with pytest.raises(InvalidInput, match="has no vectors"):
        opened(data, tokenizer, index, ranks=Told(InvalidInput("has no vectors.", where="index")))


def test_no_token_of_a_passage_carries_loss_or_divergence(data: PromptData, tokenizer: Any) -> None:
    closed, carrying = (opened(data, tokenizer, Index(), share=share).prompts[7] for share in (0.0, 1.0))
    assert len(carrying) > len(closed)
    answer = torch.tensor([9, 8, 7], dtype=torch.int32)
    episodes = [
        Episode(number, prompt, Response(answer, torch.zeros(3), True), "")
        for number, prompt in enumerate((closed, carrying))
    ]
    batch = EpisodeBatch.of(episodes, tokenizer.pad_token_id, torch.device("cpu"))
    # What loss and divergence are computed from: the answers alone, each predicted at its own place.
    assert batch.response_mask.tolist() == [[True] * 3] * 2
    assert batch.tokens.tolist() == [answer.tolist()] * 2
    for row, prompt in enumerate((closed, carrying)):
        assert batch.columns[batch.places[row]].tolist() == [len(prompt) - 1 + token for token in range(3)]
        assert batch.input_ids[row, : len(prompt)].tolist() == list(prompt.ids)
