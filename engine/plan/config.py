"""JSON files of a model's folder, read with suspicion: they come from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput
from engine.spec.fields import LARGEST

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_LARGEST_FILE = 4 * 1024 * 1024  # bytes; no config.json is longer

# Keys that mean the same in different families.
HIDDEN = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
INTERMEDIATE = ("intermediate_size", "n_inner", "ffn_dim", "d_ff")
POSITIONS = ("max_position_embeddings", "n_positions")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def read_json(file: Path, *, largest: int = _LARGEST_FILE) -> Mapping[str, Any]:
    """Return the object in a JSON file.

    largest: bytes, of which a file has no more.

    Raises:
        InvalidInput: if it cannot be read, or holds no object.
    """
    where = str(file)
    try:
        with file.open("rb") as content:
            text = content.read(largest + 1)
        if len(text) > largest:
            raise InvalidInput(f"is larger than {largest // 1024} KiB; no {file.name} is.", where=where)
        document = json.loads(text)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}.", where=where) from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error.msg}.", where=f"{where}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, nested too deeply
        raise InvalidInput(f"is not JSON: {type(error).__name__}.", where=where) from error
    if not isinstance(document, dict):
        raise InvalidInput("is not a JSON object.", where=where)
    return document


class Config:
    """A config.json whose values are checked when they are read."""

    def __init__(self, document: Mapping[str, Any], where: str) -> None:
        self._document, self.where = document, where

    def number(self, names: tuple[str, ...], default: int | None = None) -> int:
        """Return the first of the keys that is there: a whole number above 0."""
        for name in names:
            value = self._document.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise InvalidInput(
                    f"{name} must be a whole number from 1 to {LARGEST}; it is {_shown(value)}.", where=self.where
                )
            return value
        if default is None:
            raise InvalidInput(f"{names[0]} is missing, so the size of the model is unknown.", where=self.where)
        return default

    def optional_number(self, names: tuple[str, ...]) -> int | None:
        """Return the first of the keys that is there, or None."""
        return self.number(names) if any(self._document.get(name) is not None for name in names) else None

    def truth(self, name: str, default: bool) -> bool:
        """Return a yes or no."""
        value = self._document.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false; it is {_shown(value)}.", where=self.where)
        return value

    def word(self, name: str, default: str) -> str:
        """Return a word; what is none counts as missing."""
        value = self._document.get(name)
        return value if isinstance(value, str) and _WORD.fullmatch(value) else default

    def head_width(self, default: int | None = None) -> int:
        """Return the width of a head: `head_dim`, else the given one, else that of the model divided by the heads."""
        given = self.optional_number(("head_dim",)) or default
        hidden, heads = self.number(HIDDEN), self.number(HEADS)
        if given is None and hidden % heads:
            raise InvalidInput(
                f"{hidden} (hidden_size) is no multiple of {heads} (num_attention_heads).", where=self.where
            )
        return given or hidden // heads


def _shown(value: object) -> str:
    try:
        return repr(value)[:60]
    except (ValueError, RecursionError):  # a number of thousands of digits, a deep nest
        return f"a {type(value).__name__}"
