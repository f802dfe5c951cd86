"""Tokenizers trained on a corpus: one token a word, or byte-level pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.data.conversations import read_conversations
from engine.data.preferences import read_preferences
from engine.data.sources import BrokenRows
from engine.data.templates import MARKED, ROLE_MARKERS
from engine.errors import InvalidInput
from engine.spec.models import PreferenceData
from engine.spec.sections import Data, Tokenizer

PAD, BOS, EOS, UNKNOWN = "<|pad|>", "<|bos|>", "<|eos|>", "<|unk|>"
_SPECIAL = (PAD, BOS, EOS, UNKNOWN, *ROLE_MARKERS)
_BYTES = 256


def train_tokenizer(settings: Tokenizer | None, data: Data | PreferenceData) -> Any:
    """Return a `PreTrainedTokenizerFast`, trained on the corpus of its settings, or on the training data.

    The same files give the same tokenizer. It has the tokens and the chat template for conversations, and puts a
    beginning-of-sequence token before every text.

    Raises:
        InvalidInput: if the corpus cannot be read or is empty, or the vocabulary is too small for all bytes.
    """
    from transformers import PreTrainedTokenizerFast

    settings = settings or Tokenizer()
    if settings.kind == "bpe" and settings.vocabulary_size < _BYTES + len(_SPECIAL):
        raise InvalidInput(
            f"a byte-level vocabulary has at least {_BYTES + len(_SPECIAL)} tokens.", where="model.tokenizer"
        )
    pieces, trainer = _byte_level(settings) if settings.kind == "bpe" else _word_level(settings)
    pieces.train_from_iterator(_texts(settings, data), trainer)
    if pieces.get_vocab_size() <= len(_SPECIAL):
        raise InvalidInput("there is no text to train the tokenizer on.", where=(settings.corpus or (data.train,))[0])
    _begin_texts(pieces)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = MARKED
    return tokenizer


def _word_level(settings: Tokenizer) -> tuple[Any, Any]:
    """One token a word or punctuation mark.

    A token holds the space before it, and a line begins as if a space stood before it: so a word is the same token at
    the start, in the middle and after another word, and decoding gives back the text, with white space made single.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    pieces = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    pieces.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Prepend(" "),
            normalizers.Replace(Regex(r"\s*\n\s*"), "\n "),
            normalizers.Replace(Regex(r"[^\S\n]+"), " "),
        ]
    )
    word = r" ?[\w]+(?:['’\-]\w+)*| ?[^\w\s]|\n"
    pieces.pre_tokenizer = pre_tokenizers.Split(Regex(word), "removed", invert=True)
    pieces.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)])
    trainer = trainers.WordLevelTrainer(
        vocab_size=settings.vocabulary_size, special_tokens=list(_SPECIAL), show_progress=False
    )
    return pieces, trainer


def _byte_level(settings: Tokenizer) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    return pieces, trainer


def _begin_texts(pieces: Any) -> None:
    from tokenizers import processors

    pieces.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, pieces.token_to_id(BOS))]
    )


def _texts(settings: Tokenizer, data: Data | PreferenceData) -> Iterator[str]:
    if not settings.corpus:
        yield from _data_texts(data) if isinstance(data, Data) else _preference_texts(data)
    for name in settings.corpus:
        if Path(name).suffix in (".txt", ".md"):
            yield from _lines(Path(name))
        else:
            named = data if isinstance(data, Data) else Data(train=name, on_broken_row=data.on_broken_row)
            yield from _data_texts(named.model_copy(update={"train": name, "eval_fraction": 0.0, "format": "auto"}))


def _data_texts(data: Data) -> Iterator[str]:
    broken = BrokenRows(data.on_broken_row)
    usable = 0
    for conversation in read_conversations(data, "train", broken):
        usable += 1
        for message in conversation.messages:
            yield message.content.strip()
    broken.report(usable)


def _preference_texts(data: PreferenceData) -> Iterator[str]:
    broken = BrokenRows(data.on_broken_row)
    usable = 0
    for preference in read_preferences(data, "train", broken):
        usable += 1
        yield from (text.strip() for text in (preference.prompt, preference.chosen, preference.rejected))
    broken.report(usable)


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            yield from (line for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"the corpus cannot be read: {reason}.", where=str(file)) from error
