"""Whether two models read the same tokens: policy, reference, critic and reward models hand each other token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.data.templates import PLAIN
from engine.errors import Refused
from engine.generate import models
from engine.spec.models import TrainedSpec
from engine.spec.resolve import paths_by_key

# Not the pad token: pads are masked, and a reward model has another one than a policy that pads with its end token.
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token")
_OWN = "model.path"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What token ids mean to a tokenizer."""

    tokens: Mapping[str, int]  # id of each token
    special: Mapping[str, str | None]  # by role
    others: tuple[str, ...]  # special tokens without a role
    template: str  # white space made single

    @classmethod
    def of(cls, tokenizer: Any) -> Meaning:
        """Return the meaning of a tokenizer's ids."""
        special = {name: getattr(tokenizer, name) for name in _NAMED}
        others = set(tokenizer.all_special_tokens) - {tokenizer.pad_token, *special.values()}
        return cls(
            tokens=tokenizer.get_vocab(),
            special={name: None if token is None else str(token) for name, token in special.items()},
            others=tuple(sorted(map(str, others))),
            template=" ".join((tokenizer.chat_template or PLAIN).split()),
        )


def fingerprint(tokenizer: Any) -> str:
    """Return a SHA-256 over vocabulary, special tokens but for the pad token, and chat template.

    Tokenizers that `require_same_tokenizer` takes for the same, and without a word, have the same fingerprint.
    """
    text = json.dumps(asdict(Meaning.of(tokenizer)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def described(tokenizer: Any) -> dict[str, Any]:
    """Return what a provenance tells of a tokenizer."""
    return {"sha256": fingerprint(tokenizer), "tokens": len(tokenizer)}


def require_same_tokenizer(tokenizer: Any, folder: Path) -> str | None:
    """Check that the model in a folder reads the same tokens.

    Args:
        tokenizer: the own one, with the chat template that is used.
        folder: of the other model.

    Returns:
        a sentence where their chat templates differ in more than white space: the spec may want that.

    Raises:
        Refused: with the first difference, if vocabulary or special tokens differ.
        NotFound: if there is no model.
        InvalidInput: if its tokenizer has no end-of-sequence token.
    """
    models.require_model_folder(folder)
    own, other = Meaning.of(tokenizer), Meaning.of(models.load_tokenizer(folder))
    name = tokenizer.name_or_path
    difference = _difference(own, other)
    if difference is not None:
        raise Refused(
            f"the tokenizers of {name} and {folder} differ: {difference}.",
            hint="Both models must come from one base, or be trained with one tokenizer.",
        )
    if own.template != other.template:
        return f"the chat templates of {name} and {folder} differ: one model reads what the other was not trained on."
    return None


def require_same_tokenizers(spec: TrainedSpec, tokenizer: Any) -> list[str]:
    """Check that all models which a spec names read the tokens of the model that trains.

    Returns:
        a sentence on each that has another chat template.

    Raises:
        Refused, NotFound, InvalidInput: as `require_same_tokenizer` does.
    """
    paths = paths_by_key(spec)
    others = dict.fromkeys(path for key, path in paths.items() if key.rpartition(".")[2] == "path")
    sentences = [require_same_tokenizer(tokenizer, Path(path)) for path in others if path != paths.get(_OWN)]
    return [sentence for sentence in sentences if sentence is not None]


def _difference(one: Meaning, other: Meaning) -> str | None:
    """Return the first difference in words."""
    for name, token in one.special.items():
        there = other.special[name]
        if token != there:
            return f"{name.removesuffix('_token')} is {_shown(token)} in the one and {_shown(there)} in the other"
    # By id, so that the first one in the vocabularies is told.
    for token, number in sorted(one.tokens.items(), key=lambda item: item[1]):
        if other.tokens.get(token, number) != number:
            return f"token {_shown(token)} is {number} in the one and {other.tokens[token]} in the other"
    if len(one.tokens) != len(other.tokens):
        return f"{len(one.tokens):,} tokens against {len(other.tokens):,}"
    if lacking := one.tokens.keys() - other.tokens.keys():
        token = min(lacking, key=one.tokens.__getitem__)
        return f"token {_shown(token)} ({one.tokens[token]}) is missing in the other"
    if one.others != other.others:
        (token, *_) = sorted(set(one.others) ^ set(other.others))
        return f"only one of them takes {_shown(token)} for a special token"
    return None


def _shown(token: str | None) -> str:
    return "not set" if token is None else json.dumps(token, ensure_ascii=False)
