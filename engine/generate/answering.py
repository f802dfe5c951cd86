"""Answers of a model in a folder, with passages or without; with its probability, citations and support of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.data.answers import abstains
from engine.data.templates import set_template
from engine.errors import InvalidInput, RunFailed
from engine.generate.citations import cited, out_of_range
from engine.generate.grounding import Evidence, GroundedPrompt, Grounding, grounded_prompts
from engine.generate.models import (
    Precision,
    ends_of_answers,
    load_causal,
    load_tokenizer,
    longest_sequence,
    require_model_folder,
)

if TYPE_CHECKING:
    from engine.generate.sampling import Response

# What passages say for answers: of each answer a number in 0 … 1, None where it claims nothing. It gets the answers,
# the passages of each that were in its prompt, and the questions.
Check = Callable[[Sequence[str], Sequence[Sequence[str]], Sequence[str]], Sequence[float | None]]

USUAL_LENGTH = 128  # of an answer, tokens


@dataclass(frozen=True, slots=True)
class Writing:
    """How answers are written."""

    max_response_length: int  # tokens
    samples: int = 0  # drawn answers beside the likeliest one, for self-consistency
    temperature: float = 1.0  # of the drawn answers
    seed: int = 0  # of the drawn answers
    batch_size: int = 16  # most sequences at once
    abstentions: tuple[str, ...] = ("unknown", "i don't know", "i do not know")  # an answer that begins so abstains


@dataclass(frozen=True, slots=True)
class Answered:
    """The likeliest answer to a question."""

    text: str
    abstained: bool
    passages: tuple[int, ...]  # places in the given passages that were in the prompt; [n] cites the n-th of them
    citations: tuple[int, ...]  # passages that the answer cites, by their numbers in the prompt
    wrong_citations: tuple[int, ...]  # numbers that it cites and no passage has
    log_prob: float  # mean over the answer's tokens, nats, at temperature 1
    probability: float  # of the whole answer
    tokens: int  # with the end of sequence
    ended: bool  # by itself; False: it was cut at the longest length
    samples: tuple[str, ...] = ()  # drawn answers
    support: float | None = None  # by the passages, where it was checked and the answer claims something
    withheld: str | None = None  # the model's own answer, where too little support made it an abstention


class Answerer:
    """A causal language model that answers.

    The same question has the same answer in any company, but for rounding: in half precision two tokens that are
    nearly as likely may change places with the size of the batch.
    """

    def __init__(self, network: Any, tokenizer: Any, folder: Path) -> None:
        self._network, self._tokenizer, self._folder = network, tokenizer, folder

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        precision: Precision = "auto",
        device: str | None = None,
        template: str | None = None,
    ) -> Answerer:
        """Load model and tokenizer of a folder; template: a file with another chat template.

        Raises:
            NotFound: if there is no model.
            InvalidInput: if model, tokenizer or template cannot be loaded.
        """
        require_model_folder(folder)
        tokenizer = load_tokenizer(folder)
        set_template(tokenizer, template)
        return cls(load_causal(folder, tokenizer, precision=precision, device=device), tokenizer, folder)

    @property
    def usual_length(self) -> int:
        """How long its answers may be where nobody says so, tokens: most of what a small model reads is the prompt."""
        longest = longest_sequence(self._network)
        return USUAL_LENGTH if longest is None else max(1, min(USUAL_LENGTH, longest // 4))

    def answer(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Evidence]] | None,
        writing: Writing,
        *,
        grounding: Grounding | None = None,
        check: Check | None = None,
        min_support: float | None = None,
        places: Sequence[str] | None = None,
    ) -> list[Answered]:
        """Return the likeliest answer to each question.

        Arguments:
            passages: of each question, the best first; None: all are asked without.
            grounding: how passages stand in the prompt; None: numbered.
            check: says how far the passages support an answer; only where passages are given.
            min_support: an answer with less support is replaced by the abstention of `grounding`.
            places: of the questions, for errors.

        Raises:
            InvalidInput: if a question does not fit into the model.
            RunFailed: if the model does not compute numbers.
        """
        grounding = grounding or Grounding()
        each = [None] * len(questions) if passages is None else passages
        prompts = grounded_prompts(
            questions, each, self._tokenizer, grounding, longest_prompt=self._room(writing), places=places
        )
        writing = replace(writing, abstentions=(*writing.abstentions, grounding.abstention))
        answers = self._written(prompts, writing)
        if check is None or passages is None:
            return answers
        read = [[own[place].premise for place in one.passages] for own, one in zip(passages, answers, strict=True)]
        support = check([one.text for one in answers], read, questions)
        return [
            _supported(one, own, min_support, grounding.abstention) for one, own in zip(answers, support, strict=True)
        ]

    def _room(self, writing: Writing) -> int:
        """Return the longest prompt, tokens."""
        longest = longest_sequence(self._network)
        if longest is None:
            longest = 1 << 20
        if longest <= writing.max_response_length:
            raise InvalidInput(
                f"the model reads {longest} tokens, which leaves no room for a question before an answer of "
                f"{writing.max_response_length}.",
                hint="Ask for shorter answers.",
                where=str(self._folder),
            )
        return longest - writing.max_response_length

    def _written(self, prompts: Sequence[GroundedPrompt], writing: Writing) -> list[Answered]:
        from engine.generate.sampling import episode_seed

        likeliest = self._responses([prompt.ids for prompt in prompts], None, replace(writing, temperature=1.0))
        repeated = [prompt.ids for prompt in prompts for _ in range(writing.samples)]
        # The prompt decides what is drawn, not its place among others.
        seeds = [episode_seed(writing.seed, number % writing.samples, *ids) for number, ids in enumerate(repeated)]
        drawn = self._responses(repeated, seeds, writing)
        texts, samples = self._texts(likeliest), self._texts(drawn)
        return [
            _answered(
                text,
                response,
                prompt,
                tuple(samples[number * writing.samples : (number + 1) * writing.samples]),
                writing,
            )
            for number, (text, response, prompt) in enumerate(zip(texts, likeliest, prompts, strict=True))
        ]

    def _responses(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int] | None, writing: Writing
    ) -> list[Response]:
        from engine.generate.sampling import Limits, TransformersSampler

        limits = Limits(
            eos_id=self._tokenizer.eos_token_id,
            pad_id=self._tokenizer.pad_token_id,
            max_response_length=writing.max_response_length,
            temperature=writing.temperature,
            batch_size=writing.batch_size,
            also_ends=ends_of_answers(self._network, self._tokenizer),
        )
        responses = TransformersSampler(self._network, limits, self._network.device).sample(prompts, seeds)
        if not all(bool(response.log_probs.isfinite().all()) for response in responses):
            raise RunFailed(
                "the model computes probabilities that are no numbers.",
                hint="Load it in fp32 or bf16; if that does not help, its weights are damaged.",
                where=str(self._folder),
            )
        return responses

    def _texts(self, responses: Sequence[Response]) -> list[str]:
        ids = [response.ids.tolist() for response in responses]
        return [text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _answered(
    text: str, response: Response, prompt: GroundedPrompt, samples: tuple[str, ...], writing: Writing
) -> Answered:
    numbers = cited(text)
    wrong = out_of_range(numbers, len(prompt.used))
    total = float(response.log_probs.double().sum())
    return Answered(
        text=text,
        abstained=abstains(text, writing.abstentions),
        passages=prompt.used,
        citations=tuple(number for number in numbers if number not in wrong),
        wrong_citations=wrong,
        log_prob=total / len(response.ids),
        probability=math.exp(total),
        tokens=len(response.ids),
        ended=response.ended,
        samples=samples,
    )


def _supported(answer: Answered, support: float | None, min_support: float | None, abstention: str) -> Answered:
    checked = replace(answer, support=support)
    if support is None or min_support is None or support >= min_support or answer.abstained:
        return checked
    return replace(checked, text=abstention, abstained=True, citations=(), wrong_citations=(), withheld=answer.text)
