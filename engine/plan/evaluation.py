"""What an evaluation needs: each rank has a whole model and writes as a rollout of PPO does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.plan.activations import Load, forward_bytes
from engine.plan.config import read_json
from engine.plan.generation import Decoding, generation_bytes
from engine.plan.memory import CPU_OVERHEAD, Amounts, overhead
from engine.plan.networks import Network
from engine.plan.place import Place
from engine.plan.shape import ModelShape, shape_of_folder
from engine.plan.sizes import in_words
from engine.plan.states import element_bytes
from engine.spec.models import EvalSpec

# Tokens of a prompt, which only the tokenizer knows: of a question with what the template writes, and of a passage.
_QUESTION, _PASSAGE = 128, 256
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16"}  # by the name in a config.json; others are fp32


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """What an evaluation will need. `errors` say why it cannot run as it is."""

    network: Network
    precision: str
    decoding: Decoding  # a rank's sequences at once; the length of the prompts is a guess
    amounts: Amounts  # bytes a rank, while it answers
    capacity: int
    host: int  # bytes of the fullest node besides; on a CPU 0, because the amounts hold it
    answers: int | None  # at most, drawn ones among them; None: unknown
    seconds: float | None  # at most; None: no throughput is known
    warnings: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it can run as it is."""
        return not self.errors


def plan_evaluation(
    spec: EvalSpec, place: Place, *, questions: int | None = None, tokens_per_second: float | None = None
) -> EvalPlan:
    """Return the plan of an evaluation whose paths are absolute. Of the model only the configuration is read.

    Args:
        spec: what is to run.
        place: where it runs, with the placement of the spec applied.
        questions: how many there are at most; None: unknown.
        tokens_per_second: that all ranks write, measured; None: unknown.

    Raises:
        Refused: if a model is not on this machine.
        InvalidInput: if its config.json describes none.
    """
    folder = Path(spec.model.path)
    shape = shape_of_folder(folder, "model.path")
    precision = _precision(spec, read_json(folder / "config.json"))
    network = Network(shape, frozen=True)
    decoding = Decoding(spec.answers.batch_size, _prompt(spec, shape), spec.answers.max_response_length)
    weights = element_bytes(precision) * network.parameters
    amounts = Amounts(weights, other=_judge_bytes(spec), **_answering(spec, network, precision, decoding))
    amounts += overhead(amounts.total, on_cpu=place.on_cpu)
    answers = None if questions is None else questions * (1 + spec.answers.samples)
    written = None if answers is None or spec.format != "open" else answers * decoding.response
    return EvalPlan(
        network,
        precision,
        decoding,
        amounts,
        place.capacity,
        host=0 if place.on_cpu else max(place.slots) * (CPU_OVERHEAD + weights),
        answers=answers,
        seconds=written / tokens_per_second if written is not None and tokens_per_second else None,
        warnings=tuple(_warnings(shape, decoding)),
        errors=tuple(_errors(shape, decoding, amounts, weights, place)),
    )


def _precision(spec: EvalSpec, config: Mapping[str, Any]) -> str:
    if spec.model.precision != "auto":
        return spec.model.precision
    return _PRECISIONS.get(str(config.get("dtype") or config.get("torch_dtype")), "fp32")


def _prompt(spec: EvalSpec, shape: ModelShape) -> int:
    """Return a guess of the longest prompt: passages that do not fit into the model are left out."""
    passages = 0 if spec.passages == "none" else 1 if spec.retrieval is None else spec.retrieval.passages
    guess = _QUESTION + passages * _PASSAGE
    room = guess if shape.positions is None else shape.positions - spec.answers.max_response_length
    return max(1, min(guess, room))


def _answering(spec: EvalSpec, network: Network, precision: str, decoding: Decoding) -> dict[str, int]:
    """Return what answers take besides the weights: written ones, or choices that are weighed in one pass."""
    if spec.format == "open":
        return {"generation": generation_bytes(network, precision, decoding)}
    load = Load(decoding.sequences, decoding.prompt + decoding.response, predicting=decoding.response + 1)
    return {"activations": forward_bytes(network, precision, load)}


def _judge_bytes(spec: EvalSpec) -> int:
    """Return the weights of the model that judges support, which are about as large as its files."""
    if spec.support.path is None or spec.passages == "none" or spec.format != "open":
        return 0
    return sum(file.stat().st_size for file in Path(spec.support.path).glob("*.safetensors"))


def _errors(shape: ModelShape, decoding: Decoding, amounts: Amounts, weights: int, place: Place) -> Iterator[str]:
    if shape.positions is not None and decoding.response >= shape.positions:
        yield (
            f"answers.max_response_length is {decoding.response}, and the model has {shape.positions} positions for "
            f"question and answer together: lower it."
        )
    if amounts.total <= place.capacity:
        return
    too_much = f"A rank takes {in_words(amounts.total)}, and there are {in_words(place.capacity)}"
    if amounts.total - amounts.generation - amounts.activations > place.capacity:
        smaller = "" if weights <= shape.parameters * 2 else " set model.precision=bf16, or"
        yield f"{too_much}; each rank has a whole model of {in_words(weights)}:{smaller} take a larger GPU."
    else:
        yield f"{too_much}: lower answers.batch_size, which is {decoding.sequences}."


def _warnings(shape: ModelShape, decoding: Decoding) -> Iterator[str]:
    if not shape.exact:
        yield (
            f"The architecture {shape.family} is not known here: {shape.parameters:,} parameters is an estimate from "
            f"its width and depth, and so is all that follows from it."
        )
    yield f"Prompts are taken to have {decoding.prompt} tokens: only the tokenizer knows how long they are."
