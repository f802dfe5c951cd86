"""The shape of a causal language model, read from a Hugging Face config.json: its parameters, tensor by tensor.

Exact for Llama, Mistral, Qwen2, Qwen3, GPT-2 and GPT-NeoX; any other architecture is estimated, and says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput, Refused
from engine.spec.fields import LARGEST
from engine.spec.sections import Architecture, Model, Tokenizer

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_LARGEST_FILE = 4 * 1024 * 1024  # bytes; no config.json is longer

# Keys that mean the same in different families.
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_INTERMEDIATE = ("intermediate_size", "n_inner", "ffn_dim", "d_ff")
_POSITIONS = ("max_position_embeddings", "n_positions")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")

# Tensors of the MLP that the backward pass needs, by activation function; torch has one kernel for most of them, and
# GPT-2's is written out in five operations.
_WRITTEN_OUT = ("gelu_new", "gelu_fast")


@dataclass(frozen=True, slots=True)
class Weight:
    """Tensors of one shape."""

    name: str
    elements: int  # of one
    copies: int = 1


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on. Widths are elements a token."""

    family: str  # model_type of the config
    exact: bool  # whether the parameters are counted, not estimated
    weights: tuple[Weight, ...]
    layers: int
    hidden: int
    query: int  # of all heads
    key_value: int  # of all key heads, which is that of all value heads
    heads: int
    intermediate: int
    mlp_saves: int  # tensors as wide as the MLP that the backward pass needs, a layer
    rms_norm: bool  # computed in float32, of which a copy is kept
    head_norms: bool  # queries and keys are normalised too
    vocabulary: int
    positions: int | None  # longest sequence; None: the config does not say

    @property
    def parameters(self) -> int:
        """The number of parameters; shared ones count once."""
        return sum(weight.elements * weight.copies for weight in self.weights)

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""
        return max(weight.elements for weight in self.weights)


def shape_of_model(model: Model) -> ModelShape:
    """Return the shape of the model of a spec whose paths are absolute; of its folder only config.json is read.

    The vocabulary of a tokenizer that is not trained yet is taken to be as large as it may become.

    Raises:
        Refused: if its config.json is not on this machine.
        InvalidInput: if that describes no model.
    """
    if model.architecture is not None:
        return shape_of_architecture(model.architecture, (model.tokenizer or Tokenizer()).vocabulary_size)
    assert model.path is not None
    config = Path(model.path) / "config.json"
    if not config.is_file():
        raise Refused(
            "there is no config.json of the model on this machine.",
            hint="Copy it here from the nodes and name its folder with --set model.path=DIR; weights are not needed.",
            where=model.path,
        )
    return read_shape(config)


def read_shape(file: Path) -> ModelShape:
    """Return the shape that a config.json describes.

    Raises:
        InvalidInput: if it cannot be read, or describes no model.
    """
    where = str(file)
    try:
        with file.open("rb") as content:
            text = content.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise InvalidInput(f"is larger than {_LARGEST_FILE // 1024} KiB; no config.json is.", where=where)
        document = json.loads(text)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}.", where=where) from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error.msg}.", where=f"{where}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, nested too deeply
        raise InvalidInput(f"is not JSON: {type(error).__name__}.", where=where) from error
    return shape_of_config(document, where)


def shape_of_config(document: object, where: str = "config.json") -> ModelShape:
    """Return the shape that the content of a config.json describes. Raises InvalidInput if it describes none."""
    if not isinstance(document, Mapping):
        raise InvalidInput("is no model configuration: it is not a JSON object.", where=where)
    if isinstance(document.get("text_config"), Mapping):
        return _estimated(_Config(document["text_config"], where))
    config = _Config(document, where)
    match document.get("model_type"):
        case "llama" | "mistral" | "qwen2" | "qwen3" as family:
            return _llama_like(config, family)
        case "gpt2":
            return _gpt2(config)
        case "gpt_neox":
            return _gpt_neox(config)
    return _estimated(config)


def shape_of_architecture(architecture: Architecture, vocabulary: int) -> ModelShape:
    """Return the shape of a model made from scratch, which is a Llama.

    vocabulary: tokens, with the special ones.
    """
    return shape_of_config(
        {
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": architecture.hidden_size,
            "intermediate_size": architecture.intermediate_size,
            "num_hidden_layers": architecture.layers,
            "num_attention_heads": architecture.heads,
            "max_position_embeddings": architecture.max_positions,
            "tie_word_embeddings": architecture.tie_embeddings,
        },
        "model.architecture",
    )


class _Config:
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
        hidden, heads = self.number(_HIDDEN), self.number(_HEADS)
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


_KEY_HEADS = {"mistral": 8, "qwen2": 32, "qwen3": 32}  # where the config does not say; a Llama has as many as heads


def _llama_like(config: _Config, family: str) -> ModelShape:
    hidden, heads, layers = config.number(_HIDDEN), config.number(_HEADS), config.number(_LAYERS)
    inner, vocabulary = config.number(("intermediate_size",)), config.number(("vocab_size",))
    width = config.head_width(128 if family == "qwen3" else None)
    query = heads * width
    key_value = width * config.number(("num_key_value_heads",), _KEY_HEADS.get(family, heads))
    bias = config.truth("attention_bias", False) if family in ("llama", "qwen3") else False
    attention = [
        Weight("q_proj", hidden * query, layers),
        Weight("k_proj and v_proj", hidden * key_value, 2 * layers),
        Weight("o_proj", query * hidden, layers),
    ]
    if bias or family == "qwen2":
        attention += [Weight("q_proj bias", query, layers), Weight("k_proj and v_proj bias", key_value, 2 * layers)]
    if bias:
        attention.append(Weight("o_proj bias", hidden, layers))
    if family == "qwen3":
        attention.append(Weight("q_norm and k_norm", width, 2 * layers))
    mlp = [Weight("gate_proj, up_proj and down_proj", hidden * inner, 3 * layers)]
    if family == "llama" and config.truth("mlp_bias", False):
        mlp += [Weight("gate_proj and up_proj bias", inner, 2 * layers), Weight("down_proj bias", hidden, layers)]
    return ModelShape(
        family=family,
        exact=True,
        weights=(
            *_embeddings(config, vocabulary * hidden, tied=False),
            *attention,
            *mlp,
            Weight("norms", hidden, 2 * layers + 1),
        ),
        layers=layers,
        hidden=hidden,
        query=query,
        key_value=key_value,
        heads=heads,
        intermediate=inner,
        mlp_saves=4,
        rms_norm=True,
        head_norms=family == "qwen3",
        vocabulary=vocabulary,
        positions=config.optional_number(_POSITIONS),
    )


def _embeddings(config: _Config, elements: int, *, tied: bool) -> tuple[Weight, ...]:
    """Return the input and output embeddings. tied: whether they are shared where the config does not say."""
    copies = 1 if config.truth("tie_word_embeddings", tied) else 2
    return (Weight("embeddings", elements, copies),)


def _mlp_saves(config: _Config, key: str, default: str) -> int:
    return 5 if config.word(key, default) in _WRITTEN_OUT else 2


def _gpt2(config: _Config) -> ModelShape:
    hidden, layers, heads = config.number(_HIDDEN), config.number(_LAYERS), config.number(_HEADS)
    inner = config.number(("n_inner",), 4 * hidden)
    vocabulary, positions = config.number(("vocab_size",)), config.number(_POSITIONS)
    config.head_width()
    return ModelShape(
        family="gpt2",
        exact=True,
        weights=(
            *_embeddings(config, vocabulary * hidden, tied=True),
            Weight("position embeddings", positions * hidden),
            Weight("c_attn", 3 * hidden * hidden, layers),
            Weight("c_attn bias", 3 * hidden, layers),
            Weight("attention c_proj", hidden * hidden, layers),
            Weight("c_fc and mlp c_proj", hidden * inner, 2 * layers),
            Weight("c_fc bias", inner, layers),
            Weight("c_proj biases", hidden, 2 * layers),
            Weight("norms", hidden, 2 * (2 * layers + 1)),
        ),
        layers=layers,
        hidden=hidden,
        query=hidden,
        key_value=hidden,
        heads=heads,
        intermediate=inner,
        mlp_saves=_mlp_saves(config, "activation_function", "gelu_new"),
        rms_norm=False,
        head_norms=False,
        vocabulary=vocabulary,
        positions=positions,
    )


def _gpt_neox(config: _Config) -> ModelShape:
    hidden, layers, heads = config.number(_HIDDEN), config.number(_LAYERS), config.number(_HEADS)
    inner, vocabulary = config.number(("intermediate_size",)), config.number(("vocab_size",))
    config.head_width()
    biases = (Weight("attention biases", 4 * hidden, layers),) if config.truth("attention_bias", True) else ()
    return ModelShape(
        family="gpt_neox",
        exact=True,
        weights=(
            *_embeddings(config, vocabulary * hidden, tied=False),
            Weight("query_key_value", 3 * hidden * hidden, layers),
            Weight("dense", hidden * hidden, layers),
            *biases,
            Weight("mlp", hidden * inner, 2 * layers),
            Weight("mlp biases", inner + hidden, layers),
            Weight("norms", hidden, 2 * (2 * layers + 1)),
        ),
        layers=layers,
        hidden=hidden,
        query=hidden,
        key_value=hidden,
        heads=heads,
        intermediate=inner,
        mlp_saves=_mlp_saves(config, "hidden_act", "gelu"),
        rms_norm=False,
        head_norms=False,
        vocabulary=vocabulary,
        positions=config.optional_number(_POSITIONS),
    )


def _estimated(config: _Config) -> ModelShape:
    """Estimate an unknown architecture as a transformer with a gated MLP, as most of today's are."""
    hidden, layers, vocabulary = config.number(_HIDDEN), config.number(_LAYERS), config.number(("vocab_size",))
    heads = config.number(_HEADS, max(1, hidden // 128))
    inner = config.number(_INTERMEDIATE, -(-8 * hidden // 3))  # 12 · hidden² a layer, with the attention
    experts = config.number(_EXPERTS, 1)
    return ModelShape(
        family=config.word("model_type", "unknown"),
        exact=False,
        weights=(
            *_embeddings(config, vocabulary * hidden, tied=False),
            Weight("attention", hidden * hidden, 4 * layers),
            Weight("mlp", hidden * inner, 3 * layers * experts),
            Weight("norms", hidden, 2 * layers + 1),
        ),
        layers=layers,
        hidden=hidden,
        query=hidden,
        key_value=hidden,
        heads=heads,
        intermediate=inner,
        mlp_saves=5,
        rms_norm=True,
        head_norms=False,
        vocabulary=vocabulary,
        positions=config.optional_number(_POSITIONS),
    )
