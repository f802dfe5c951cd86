"""Questions with passages to answer them from, as prompts that fit the model.

Passages go in by rank while they fit, by the tokens that the model's own chat template and tokenizer make of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.data.conversations import Conversation, Message
from engine.data.examples import batched
from engine.data.facts.questions import with_passage
from engine.data.sentences import sentences
from engine.data.templates import generation_prompts
from engine.errors import InvalidInput
from engine.generate.citations import without_citations

Style = Literal["numbered", "plain"]

# Prompts that are tokenised in one call.
_BATCH = 1024
_PROBE = "plumbline-question"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that a model may read."""

    text: str
    title: str = ""
    id: str = ""

    @property
    def premise(self) -> str:
        """What it states: its text, under its title where it has one, which often names what the text is about."""
        return f"{self.title}: {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Grounding:
    """How passages stand in a prompt."""

    style: Style = "numbered"  # plain: above the question, as the fact world's models are trained
    abstention: str = "I don't know"  # what the model is told to say where no passage holds the answer
    template: Path | None = None  # a Jinja file instead of the style; it has question, passages, abstention


@dataclass(frozen=True, slots=True)
class GroundedPrompt:
    """A prompt with passages."""

    messages: tuple[Message, ...]
    ids: list[int]  # with the generation prompt: what stands before the answer
    used: tuple[int, ...]  # places in the given passages; [n] in the prompt is the n-th of them
    cut: bool  # whether the last one is not whole


# Writes the user's message from a question and passages.
_Writer = Callable[[str, Sequence[Evidence]], str]
# Proposes messages, gets how many tokens the prompt then has, and ends with the message, passages in it, and whether
# the last one is cut.
_Search = Generator[str, int, tuple[str, int, bool]]


def grounded_prompts(
    questions: Sequence[str],
    passages: Sequence[Sequence[Evidence] | None],
    tokenizer: Any,
    grounding: Grounding,
    *,
    longest_prompt: int,
    places: Sequence[str] | None = None,
) -> list[GroundedPrompt]:
    """Return a prompt for each question, of at most `longest_prompt` tokens.

    Passages come in by their order until one does not fit. That one is cut behind its last sentence that fits, or left
    out; only the first passage is cut inside of a sentence, as without it there would be none. Special tokens of the
    model in a passage are taken out, so that no document speaks as the user or the model; in numbered prompts so are
    numbers in brackets, which would read as citations.

    Arguments:
        passages: of each question; none found is an empty sequence; None asks the question alone.
        tokenizer: with a chat template (`engine.data.templates.set_template`).
        longest_prompt: tokens, with the generation prompt: the model's positions less the longest answer.
        places: of the questions, for errors.

    Raises:
        InvalidInput: if a question does not fit even without passages, or a template does not fit.
    """
    writer = _writer(grounding)
    clean = _cleaner(tokenizer, grounding)
    cleaned = [None if own is None else [clean(one) for one in own] for own in passages]
    places = places or [f"question {number}" for number in range(1, len(questions) + 1)]
    prompts: list[GroundedPrompt] = []
    for batch in batched(zip(questions, cleaned, places, strict=True), _BATCH):
        searches = [_search(question, own, writer, longest_prompt, place) for question, own, place in batch]
        prompts += _run(searches, [place for _, _, place in batch], tokenizer)
    return prompts


def grounded_question(question: str, passages: Sequence[Evidence], grounding: Grounding) -> str:
    """Return the user's message for a question with passages, all of them and whole.

    Raises:
        InvalidInput: if the grounding's template cannot be used.
    """
    return _writer(grounding)(question, passages)


def _run(searches: Sequence[_Search], places: Sequence[str], tokenizer: Any) -> list[GroundedPrompt]:
    """Carry out the searches side by side: one call of the tokenizer for a step of all."""
    tried: list[dict[str, list[int]]] = [{} for _ in searches]
    done: dict[int, GroundedPrompt] = {}
    proposed = {number: next(search) for number, search in enumerate(searches)}
    while proposed:
        asked = [Conversation((Message("user", text),), places[number]) for number, text in proposed.items()]
        for (number, text), ids in zip(
            list(proposed.items()), generation_prompts(asked, tokenizer, as_trained=False), strict=True
        ):
            tried[number][text] = ids
            try:
                proposed[number] = searches[number].send(len(ids))
            except StopIteration as end:
                found, used, cut = end.value
                del proposed[number]
                message = Message("user", found)
                done[number] = GroundedPrompt((message,), tried[number][found], tuple(range(used)), cut)
    return [done[number] for number in range(len(searches))]


def _search(
    question: str, passages: Sequence[Evidence] | None, writer: _Writer, longest_prompt: int, place: str
) -> _Search:
    bare = question if passages is None else writer(question, ())
    if passages:
        whole = writer(question, passages)
        if (yield whole) <= longest_prompt:
            return whole, len(passages), False
    length = yield bare
    if length > longest_prompt:
        raise InvalidInput(
            f"the question takes {length} tokens without passages, and there is room for {longest_prompt}.",
            hint="Ask for shorter answers, or leave the question out.",
            where=place,
        )
    if not passages:
        return bare, 0, False
    kept = yield from _most(lambda count: writer(question, passages[:count]), len(passages) - 1, longest_prompt)
    last = passages[kept]

    def cut_at(ends: Sequence[int]) -> Callable[[int], str]:
        parts = [replace(last, text=last.text[:end]) for end in ends]
        return lambda count: writer(question, (*passages[:kept], *parts[count - 1 : count]))

    ends = [end for _, end in sentences(last.text)][:-1]
    whole_sentences = yield from _most(cut_at(ends), len(ends), longest_prompt)
    if whole_sentences:
        return cut_at(ends)(whole_sentences), kept + 1, True
    if kept == 0:
        ends = [word.end() for word in re.finditer(r"\S+", last.text)]
        words = yield from _most(cut_at(ends), len(ends) - 1, longest_prompt)
        if words:
            return cut_at(ends)(words), 1, True
    return writer(question, passages[:kept]), kept, False


def _most(text: Callable[[int], str], most: int, longest_prompt: int) -> Generator[str, int, int]:
    """Find the largest count up to `most` whose text fits; that of 0 does."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if (yield text(middle)) <= longest_prompt:
            least = middle
        else:
            most = middle - 1
    return least


def _cleaner(tokenizer: Any, grounding: Grounding) -> Callable[[Evidence], Evidence]:
    tokens = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True) if token.strip()))
    numbered = grounding.style == "numbered" or grounding.template is not None

    def cleaned(text: str) -> str:
        if special.pattern:
            # What is taken out leaves a space, so that no two halves become another one.
            text = special.sub(" ", text)
        return without_citations(text) if numbered else text

    return lambda passage: replace(passage, text=cleaned(passage.text), title=cleaned(passage.title))


def _writer(grounding: Grounding) -> _Writer:
    if grounding.template is not None:
        return _from_file(grounding.template, grounding.abstention)
    if grounding.style == "plain":
        return _plain
    return lambda question, passages: _numbered(question, passages, grounding.abstention)


def _plain(question: str, passages: Sequence[Evidence]) -> str:
    return with_passage("\n".join(passage.text for passage in passages), question) if passages else question


def _numbered(question: str, passages: Sequence[Evidence], abstention: str) -> str:
    listed = "\n".join(f"[{number}] {passage.premise}" for number, passage in enumerate(passages, 1))
    return (
        "Answer the question from the passages below. Cite each passage that your answer rests on by its number, "
        f"as in [1]. If they do not hold the answer, say: {abstention}\n\n"
        f"Passages:\n{listed or '(none)'}\n\n"
        f"Question: {question}"
    )


def _from_file(file: Path, abstention: str) -> _Writer:
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"the prompt template cannot be read: {reason}.", where=str(file)) from error

    def write(question: str, passages: Sequence[Evidence]) -> str:
        listed = [
            {"number": number, "title": passage.title, "text": passage.text}
            for number, passage in enumerate(passages, 1)
        ]
        try:
            return template.render(question=question, passages=listed, abstention=abstention)
        except Exception as error:  # whatever the user's own template does
            hint = "It has question, abstention, and passages, each with number, title and text."
            raise InvalidInput(f"the prompt template fails: {error}.", hint=hint, where=str(file)) from error

    try:
        template = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(text)
    except TemplateError as error:
        raise InvalidInput(f"the prompt template is broken: {error}.", where=str(file)) from error
    if _PROBE not in write(_PROBE, [Evidence("text", "title")]):
        raise InvalidInput("the prompt template does not write the question.", where=str(file))
    return write
