"""Chat templates: conversations as token ids, with the exact tokens that the assistant is to write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.data.conversations import Conversation, Message
from engine.errors import InvalidInput

Masked = tuple[list[int], list[bool]]  # token ids, and which of them the assistant writes

ROLE_MARKERS = ("<|system|>", "<|user|>", "<|assistant|>")

# The template of a tokenizer that has the role markers as tokens.
MARKED = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('there is no role ' ~ message['role']) }}{% endif %}"
    "{{ '<|' ~ message['role'] ~ '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] | trim }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# The template of a tokenizer that has none of its own and no role markers: a base model's.
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] | capitalize }}:"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ ' ' ~ message['content'] | trim }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ ' ' ~ message['content'] | trim }}{% endif %}"
    "{{ '' if loop.last and message['role'] == 'assistant' else '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

_MARKS_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def set_template(tokenizer: Any, file: str | None) -> None:
    """Give the tokenizer the chat template of a file; without one it keeps its own, or gets the plain one.

    Raises:
        InvalidInput: if the file cannot be read.
    """
    if file is not None:
        try:
            tokenizer.chat_template = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidInput(f"the chat template cannot be read: {reason}.", where=file) from error
    elif not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN


def apply_template(conversations: Sequence[Conversation], tokenizer: Any) -> list[Masked]:
    """Return each conversation as token ids, and which of them the assistant writes.

    A template that marks the assistant's part with `{% generation %}` says it itself. With any other one, the part is
    what an answer adds to the prompt before it, up to its end-of-sequence token; that is exact if a longer conversation
    begins with the very tokens of a shorter one, which is checked.

    Raises:
        InvalidInput: if the template is broken, refuses a conversation, or is not exact in this sense.
    """
    apply = _marked if _MARKS_GENERATION.search(tokenizer.get_chat_template()) else _incremental
    try:
        return apply(conversations, tokenizer)
    except InvalidInput:
        raise
    except Exception as error:
        if len(conversations) > 1:  # find the one that the template refuses
            return [apply_template([conversation], tokenizer)[0] for conversation in conversations]
        where = conversations[0].place
        raise InvalidInput(f"the chat template cannot write this conversation: {error}.", where=where) from error


def generation_prompts(
    conversations: Sequence[Conversation], tokenizer: Any, *, as_trained: bool = True
) -> list[list[int]]:
    """Return what stands before the next answer to each conversation, as token ids.

    With `as_trained`, the same tokens must stand before an answer in training; that is checked on the first
    conversation.

    Raises:
        InvalidInput: if the template is broken, refuses a conversation, or writes other tokens in training.
    """
    try:
        prompts: list[list[int]] = tokenizer.apply_chat_template(
            [_messages(conversation) for conversation in conversations],
            add_generation_prompt=True,
            return_dict=True,
            tokenizer_kwargs={"return_attention_mask": False},
        )["input_ids"]
    except Exception as error:
        if len(conversations) > 1:  # find the one that the template refuses
            return [
                generation_prompts([conversation], tokenizer, as_trained=as_trained)[0]
                for conversation in conversations
            ]
        where = conversations[0].place
        raise InvalidInput(f"the chat template cannot write this conversation: {error}.", where=where) from error
    if conversations and as_trained:
        _check_as_trained(conversations[0], prompts[0], tokenizer)
    return prompts


def _check_as_trained(conversation: Conversation, prompt: list[int], tokenizer: Any) -> None:
    answered = Conversation((*conversation.messages, Message("assistant", "x")), conversation.place)
    ((ids, mask),) = apply_template([answered], tokenizer)
    if ids[: len(prompt)] != prompt or mask[len(prompt) - 1 : len(prompt) + 1] != [False, True]:
        raise InvalidInput(
            "the chat template writes other tokens before an answer in training than where it asks for one.",
            hint="Let what it writes for add_generation_prompt end where {% generation %} begins, without a space.",
            where=conversation.place,
        )


def _messages(conversation: Conversation, end: int | None = None) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in conversation.messages[:end]]


def _marked(conversations: Sequence[Conversation], tokenizer: Any) -> list[Masked]:
    written = tokenizer.apply_chat_template(
        [_messages(conversation) for conversation in conversations],
        return_dict=True,
        return_assistant_tokens_mask=True,
        tokenizer_kwargs={"return_attention_mask": False},
    )
    masks = ([bool(carries) for carries in mask] for mask in written["assistant_masks"])
    return list(zip(written["input_ids"], masks, strict=True))


def _incremental(conversations: Sequence[Conversation], tokenizer: Any) -> list[Masked]:
    def write(conversation: Conversation, end: int, prompt: bool) -> list[int]:
        messages = _messages(conversation, end)
        ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        return ids

    written = []
    for conversation in conversations:
        ids = write(conversation, len(conversation.messages), False)
        mask = [False] * len(ids)
        for turn, message in enumerate(conversation.messages):
            if message.role == "assistant":
                before = write(conversation, turn, True)
                through = write(conversation, turn + 1, False)
                if through[: len(before)] != before or ids[: len(through)] != through:
                    raise InvalidInput(
                        f"the chat template writes the start of this conversation in another way than the whole "
                        f"(message {turn + 1}), so it is unclear which tokens are the answer's.",
                        hint="Mark the assistant's part in the template with {% generation %} … {% endgeneration %}.",
                        where=conversation.place,
                    )
                end = _end_of_turn(through, len(before), tokenizer.eos_token_id)
                mask[len(before) : end] = [True] * (end - len(before))
        written.append((ids, mask))
    return written


def _end_of_turn(ids: Sequence[int], start: int, eos: int) -> int:
    """Return where an answer ends: after its last end-of-sequence token, if it has one."""
    return next((index + 1 for index in range(len(ids) - 1, start - 1, -1) if ids[index] == eos), len(ids))
