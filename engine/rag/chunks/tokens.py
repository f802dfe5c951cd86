"""Where the tokens of a text are: what the sizes of chunks are counted in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

# Not the standard library's: its \w breaks words of Indic scripts at each vowel sign.
import regex

from engine.errors import InvalidInput

# Scripts that put no spaces between words.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORDS = regex.compile(rf"(?V1)[[\w\p{{M}}]--[{UNSPACED}]]+|[^\s]\p{{M}}*")
_SURROGATES = regex.compile(r"[\ud800-\udfff]")
_KIND = "Give a folder that SentenceTransformer.save_pretrained wrote."


class TokenCounter(Protocol):
    """Cuts texts into tokens."""

    @property
    def name(self) -> str:
        """What a record of the chunks calls it."""
        ...

    @property
    def special_tokens(self) -> int:
        """How many tokens a text gets beside its own, as [CLS] and [SEP]."""
        ...

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the spans [start, end), in characters, of all tokens of each text; special tokens left out."""
        ...


class TokenizerCounter:
    """The tokenizer of a sentence-transformers folder. Loads neither torch nor transformers."""

    def __init__(self, folder: Path) -> None:
        """Load FOLDER/tokenizer.json, or the one in the folder of the first module of FOLDER/modules.json.

        Raises:
            InvalidInput: if there is none, or it cannot be read.
        """
        from tokenizers import Tokenizer

        file = _tokenizer_file(folder)
        try:
            tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exceptions
            raise InvalidInput(
                f"the tokenizer cannot be read: {error}.", hint="Copy the whole model again.", where=str(file)
            ) from error
        # Files often hold the length that the model was trained with, and would cut there without a word.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.name = f"{tokenizer.model.__class__.__name__} of {folder.name}"
        self.special_tokens: int = tokenizer.num_special_tokens_to_add(False)

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the spans [start, end) of all tokens of each text. A lone surrogate counts as U+FFFD."""
        encodable = [text if text.isascii() else _SURROGATES.sub("\ufffd", text) for text in texts]
        return [found.offsets for found in self._tokenizer.encode_batch(encodable, add_special_tokens=False)]


class WordCounter:
    """Words, punctuation marks, and characters of scripts without spaces: for indexes without an embedder."""

    name = "words"
    special_tokens = 0

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the spans [start, end) of the words and marks of each text."""
        return [[match.span() for match in _WORDS.finditer(text)] for text in texts]


def _tokenizer_file(folder: Path) -> Path:
    """Return where the tokenizer is: older folders have it in that of their first module, `0_Transformer`."""
    places = [folder]
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        places.append(folder / modules[0]["path"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a damaged list is told of where the model is loaded; the tokenizer may still be there
    for place in places:
        if (place / "tokenizer.json").is_file():
            return place / "tokenizer.json"
    raise InvalidInput("the embedder has no tokenizer.json.", hint=_KIND, where=str(folder))
