"""What the tokenizer files of a folder say, read without transformers: tokens, special tokens, chat template."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput
from engine.plan.config import read_json

_LARGEST_FILE = 256 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """A tokenizer, as far as its files say. None: they do not."""

    file: Path | None  # tokenizer.json
    digest: str | None  # SHA-256 of that file
    special: Mapping[str, str | None]  # token of each of _SPECIAL
    template: str | None  # white space made single

    def tokens(self) -> dict[str, int]:
        """Return the id of each token. Raises InvalidInput if the file cannot be read."""
        if self.file is None:
            return {}
        document = read_json(self.file, largest=_LARGEST_FILE)
        model = document.get("model")
        known = model.get("vocab") if isinstance(model, Mapping) else None
        tokens: dict[str, int] = {}
        if isinstance(known, Mapping):
            tokens = {str(token): number for token, number in known.items() if isinstance(number, int)}
        elif isinstance(known, Sequence):  # a unigram model: tokens with their scores, in the order of their ids
            tokens = {str(pair[0]): number for number, pair in enumerate(known) if isinstance(pair, list) and pair}
        for added in document.get("added_tokens") or ():
            if isinstance(added, Mapping) and isinstance(added.get("id"), int):
                tokens[str(added.get("content"))] = added["id"]
        return tokens


_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_tokenizer(folder: Path) -> TokenizerFacts | None:
    """Return what the files of a folder say; None if there are none.

    Raises:
        InvalidInput: if one cannot be read.
    """
    config, tokens, template = (folder / name for name in ("tokenizer_config.json", "tokenizer.json", _TEMPLATE))
    if not config.is_file() and not tokens.is_file():
        return None
    settings = dict(read_json(config)) if config.is_file() else {}
    older = folder / "special_tokens_map.json"
    if older.is_file():
        settings = {**read_json(older), **settings}
    file = tokens if tokens.is_file() else None
    return TokenizerFacts(
        file=file,
        digest=_digest(file) if file is not None else None,
        special={name: _token(settings.get(name)) for name in _SPECIAL},
        template=_template(template, settings.get("chat_template")),
    )


_TEMPLATE = "chat_template.jinja"


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}.", where=str(file)) from error


def _token(value: Any) -> str | None:
    """Return a special token, which stands as it is or as an object with its content."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def read_template(file: Path) -> str | None:
    """Return the text of a chat template, its white space made single; None if it cannot be read."""
    try:
        return " ".join(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return None


def _template(file: Path, setting: Any) -> str | None:
    if file.is_file():
        return read_template(file)
    if isinstance(setting, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in setting if isinstance(entry, Mapping)}
        setting = named.get("default")
    return " ".join(setting.split()) if isinstance(setting, str) else None


def pad_problem(facts: TokenizerFacts) -> str | None:
    """Return why no score can be read: it stands at the end-of-sequence token, so pads must be another one.

    A tokenizer without a pad token, or with that one, gets its unknown or beginning-of-sequence token for pads
    (engine/train/models.py).
    """
    special = facts.special
    eos = special["eos_token"]
    if eos is None or special["pad_token"] not in (None, eos):
        return None
    if any(special[name] not in (None, eos) for name in ("unk_token", "bos_token")):
        return None
    return (
        f"the tokenizer pads with its end-of-sequence token {eos!r}, at which scores are read, and has no other one: "
        f"add a pad token of its own to tokenizer and model."
    )


def difference(one: TokenizerFacts, other: TokenizerFacts) -> str | None:
    """Return the first difference between the tokens of two tokenizers, in words; None if none is known.

    Pad tokens may differ: pads are masked.

    Raises:
        InvalidInput: if a file cannot be read.
    """
    for name in ("bos_token", "eos_token", "unk_token"):
        here, there = one.special[name], other.special[name]
        if here != there and None not in (here, there):
            return f"{name.removesuffix('_token')} is {here!r} in the one and {there!r} in the other"
    if None in (one.digest, other.digest) or one.digest == other.digest:
        return None
    return next(_different_tokens(one.tokens(), other.tokens()), None)


def _different_tokens(one: Mapping[str, int], other: Mapping[str, int]) -> Iterator[str]:
    for token, number in sorted(one.items(), key=lambda item: item[1]):
        there = other.get(token)
        if there != number:
            yield f"token {token!r} is {number} in the one and {'missing' if there is None else there} in the other"
    if len(one) != len(other):
        yield f"{len(one):,} tokens against {len(other):,}"
