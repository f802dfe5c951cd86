"""The shape of a causal language model, read from a Hugging Face config.json: its parameters, tensor by tensor.

Exact for Llama, Mistral, Qwen2, Qwen3, GPT-2 and GPT-NeoX; any other architecture is estimated, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import Refused
from engine.plan.config import EXPERTS, HEADS, HIDDEN, INTERMEDIATE, LAYERS, POSITIONS, Config, read_json
from engine.spec.sections import Architecture, Model, Tokenizer

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
class Linear:
    """The matrices of one linear layer of all blocks; biases are weights of their own."""

    name: str  # as it ends in every block: self_attn.q_proj
    inputs: int
    outputs: int
    copies: int  # in all blocks


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on. Widths are elements a token."""

    family: str  # model_type of the config
    exact: bool  # whether the parameters are counted, not estimated
    linears: tuple[Linear, ...]  # of the blocks
    weights: tuple[Weight, ...]  # all others, without embeddings and head
    tied: bool  # whether the output embeddings are the input embeddings
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
    scored: bool = False  # a scalar head stands in place of the output embeddings

    @property
    def outputs(self) -> int:
        """Numbers that the head gives at a position: logits, or one score."""
        return 1 if self.scored else self.vocabulary

    @property
    def head(self) -> int:
        """Parameters of the head that are no embeddings."""
        return self.hidden if self.scored else 0

    @property
    def parameters(self) -> int:
        """The number of parameters; shared ones count once."""
        blocks = sum(linear.inputs * linear.outputs * linear.copies for linear in self.linears)
        others = sum(weight.elements * weight.copies for weight in self.weights)
        embeddings = self.vocabulary * self.hidden * (1 if self.tied or self.scored else 2)
        return blocks + others + embeddings + self.head

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""
        matrices = [linear.inputs * linear.outputs for linear in self.linears]
        return max(self.vocabulary * self.hidden, *matrices, *(weight.elements for weight in self.weights))


def with_score_head(shape: ModelShape) -> ModelShape:
    """Return the shape with a scalar head in place of the output embeddings: a reward model, or a critic."""
    return replace(shape, scored=True)


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
    return shape_of_folder(Path(model.path), "model.path")


def shape_of_folder(folder: Path, key: str) -> ModelShape:
    """Return the shape of the model in a folder, of which only config.json is read.

    key: of the spec, that names the folder.

    Raises:
        Refused: if its config.json is not on this machine.
        InvalidInput: if that describes no model.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise Refused(
            "there is no config.json of the model on this machine.",
            hint=f"Copy it here from the nodes and name its folder with --set {key}=DIR; weights are not needed.",
            where=str(folder),
        )
    return read_shape(config)


def read_shape(file: Path) -> ModelShape:
    """Return the shape that a config.json describes.

    Raises:
        InvalidInput: if it cannot be read, or describes no model.
    """
    return shape_of_config(read_json(file), str(file))


def shape_of_config(document: Mapping[str, object], where: str = "config.json") -> ModelShape:
    """Return the shape that the content of a config.json describes. Raises InvalidInput if it describes none."""
    if isinstance(inner := document.get("text_config"), Mapping):
        return _estimated(Config(inner, where))
    config = Config(document, where)
    match document.get("model_type"):
        case "llama" | "mistral" | "qwen2" | "qwen3" as family:
            return _llama_like(config, str(family))
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


_KEY_HEADS = {"mistral": 8, "qwen2": 32, "qwen3": 32}  # where the config does not say; a Llama has as many as heads


def _llama_like(config: Config, family: str) -> ModelShape:
    hidden, heads, layers = config.number(HIDDEN), config.number(HEADS), config.number(LAYERS)
    inner, vocabulary = config.number(("intermediate_size",)), config.number(("vocab_size",))
    width = config.head_width(128 if family == "qwen3" else None)
    query = heads * width
    key_value = width * config.number(("num_key_value_heads",), _KEY_HEADS.get(family, heads))
    bias = config.truth("attention_bias", False) if family in ("llama", "qwen3") else False
    weights = [Weight("norms", hidden, 2 * layers + 1)]
    if bias or family == "qwen2":
        weights += [Weight("q_proj bias", query, layers), Weight("k_proj and v_proj bias", key_value, 2 * layers)]
    if bias:
        weights.append(Weight("o_proj bias", hidden, layers))
    if family == "qwen3":
        weights.append(Weight("q_norm and k_norm", width, 2 * layers))
    if family == "llama" and config.truth("mlp_bias", False):
        weights += [Weight("gate_proj and up_proj bias", inner, 2 * layers), Weight("down_proj bias", hidden, layers)]
    return ModelShape(
        family=family,
        exact=True,
        linears=_gated_blocks(hidden, query, key_value, inner, layers=layers),
        weights=tuple(weights),
        tied=config.truth("tie_word_embeddings", False),
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
        positions=config.optional_number(POSITIONS),
    )


def _gated_blocks(
    hidden: int, query: int, key_value: int, inner: int, *, layers: int, experts: int = 1
) -> tuple[Linear, ...]:
    return (
        Linear("self_attn.q_proj", hidden, query, layers),
        Linear("self_attn.k_proj", hidden, key_value, layers),
        Linear("self_attn.v_proj", hidden, key_value, layers),
        Linear("self_attn.o_proj", query, hidden, layers),
        Linear("mlp.gate_proj", hidden, inner, layers * experts),
        Linear("mlp.up_proj", hidden, inner, layers * experts),
        Linear("mlp.down_proj", inner, hidden, layers * experts),
    )


def _mlp_saves(config: Config, key: str, default: str) -> int:
    return 5 if config.word(key, default) in _WRITTEN_OUT else 2


def _gpt2(config: Config) -> ModelShape:
    hidden, layers, heads = config.number(HIDDEN), config.number(LAYERS), config.number(HEADS)
    inner = config.number(("n_inner",), 4 * hidden)
    vocabulary, positions = config.number(("vocab_size",)), config.number(POSITIONS)
    config.head_width()
    return ModelShape(
        family="gpt2",
        exact=True,
        linears=(
            Linear("attn.c_attn", hidden, 3 * hidden, layers),
            Linear("attn.c_proj", hidden, hidden, layers),
            Linear("mlp.c_fc", hidden, inner, layers),
            Linear("mlp.c_proj", inner, hidden, layers),
        ),
        weights=(
            Weight("position embeddings", positions * hidden),
            Weight("c_attn bias", 3 * hidden, layers),
            Weight("c_fc bias", inner, layers),
            Weight("c_proj biases", hidden, 2 * layers),
            Weight("norms", hidden, 2 * (2 * layers + 1)),
        ),
        tied=config.truth("tie_word_embeddings", True),
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


def _gpt_neox(config: Config) -> ModelShape:
    hidden, layers, heads = config.number(HIDDEN), config.number(LAYERS), config.number(HEADS)
    inner, vocabulary = config.number(("intermediate_size",)), config.number(("vocab_size",))
    config.head_width()
    biases = (Weight("attention biases", 4 * hidden, layers),) if config.truth("attention_bias", True) else ()
    return ModelShape(
        family="gpt_neox",
        exact=True,
        linears=(
            Linear("attention.query_key_value", hidden, 3 * hidden, layers),
            Linear("attention.dense", hidden, hidden, layers),
            Linear("mlp.dense_h_to_4h", hidden, inner, layers),
            Linear("mlp.dense_4h_to_h", inner, hidden, layers),
        ),
        weights=(
            *biases,
            Weight("mlp biases", inner + hidden, layers),
            Weight("norms", hidden, 2 * (2 * layers + 1)),
        ),
        tied=config.truth("tie_word_embeddings", False),
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
        positions=config.optional_number(POSITIONS),
    )


def _estimated(config: Config) -> ModelShape:
    """Estimate an unknown architecture as a transformer with a gated MLP, as most of today's are."""
    hidden, layers, vocabulary = config.number(HIDDEN), config.number(LAYERS), config.number(("vocab_size",))
    heads = config.number(HEADS, max(1, hidden // 128))
    inner = config.number(INTERMEDIATE, -(-8 * hidden // 3))  # 12 · hidden² a layer, with the attention
    return ModelShape(
        family=config.word("model_type", "unknown"),
        exact=False,
        linears=_gated_blocks(hidden, hidden, hidden, inner, layers=layers, experts=config.number(EXPERTS, 1)),
        weights=(Weight("norms", hidden, 2 * layers + 1),),
        tied=config.truth("tie_word_embeddings", False),
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
        positions=config.optional_number(POSITIONS),
    )
