"""Random valid specs, drawn from the types themselves: a new key is drawn without a word here."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import Node
from ruamel.yaml.representer import SafeRepresenter

from engine.spec.fields import LARGEST
from engine.spec.models import SPEC_TYPES, AnySpec, Kind

PATIENT = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PATH = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
TRICKY = st.sampled_from(["no", "~", "1e-4", "2024-01-01", "a: b", "#a", "'", "\\", "\u2028", "{}", "=", "?0", ","])
NAME = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")


def as_yaml(value: Any) -> str:
    """Return a value as one line of YAML, all its texts in quotes."""
    yaml, stream = YAML(typ="safe", pure=True), StringIO()
    yaml.Representer, yaml.default_flow_style, yaml.width = _Quoting, True, 1 << 30
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump([value], stream)
    return stream.getvalue().strip()[1:-1]


class _Quoting(SafeRepresenter):
    def text(self, value: str) -> Node:
        return self.represent_scalar("tag:yaml.org,2002:str", value, style='"')


_Quoting.add_representer(str, _Quoting.text)


@st.composite
def documents(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    """What a valid spec file of a kind may say; keys with a default may be absent."""
    schema = SPEC_TYPES[kind].model_json_schema()
    return {**draw(_values(schema, schema.get("$defs", {}))), "kind": str(kind)}


@st.composite
def specs(draw: st.DrawFn) -> AnySpec:
    """A valid spec of any kind."""
    kind = draw(st.sampled_from(list(Kind)))
    return SPEC_TYPES[kind].model_validate(draw(documents(kind)))


def _values(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        marks = {"allowed": schema["allowed"]} if "allowed" in schema else {}
        return st.one_of([_values({**option, **marks}, definitions) for option in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    match schema["type"]:
        case "object" if "propertyNames" in schema:
            ((pattern, entry),) = schema["patternProperties"].items()
            names = st.from_regex(pattern.strip("^$"), fullmatch=True) | st.sampled_from(["no", "on", "null", "y"])
            names = names.filter(lambda name: len(name) <= schema["propertyNames"]["maxLength"])
            return st.dictionaries(
                names, _values(entry, definitions), min_size=schema.get("minProperties", 0), max_size=3
            )
        case "object":
            keys = {name: _values(key, definitions) for name, key in schema["properties"].items()}
            needed = {name: keys.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(needed, optional=keys).map(lambda drawn: _mended(schema["title"], drawn))
        case "array":
            return st.lists(_values(schema["items"], definitions), min_size=schema.get("minItems", 0), max_size=3)
        case "integer":
            return st.integers(schema.get("minimum", 0), min(schema.get("maximum", LARGEST), 1000))
        case "number":
            lowest = schema.get("minimum", schema.get("exclusiveMinimum"))
            highest = schema.get("maximum", schema.get("exclusiveMaximum"))
            return st.floats(
                lowest,
                highest,
                exclude_min="exclusiveMinimum" in schema,
                exclude_max="exclusiveMaximum" in schema,
                allow_infinity=False,
                allow_nan=False,
            )
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    if "a path" in schema.get("allowed", ""):
        return PATH | TRICKY
    return NAME if "pattern" in schema or "allowed" in schema else TEXT | TRICKY


def _mended(title: str, drawn: dict[str, Any]) -> dict[str, Any]:
    """Return a section that its validator accepts too."""
    if title == "Architecture":
        return drawn | {"hidden_size": 2 * drawn.get("heads", 4) * (1 + drawn.get("layers", 0) % 3)}
    if title == "Model":
        from_scratch = drawn.get("architecture") is not None
        if from_scratch:
            return {**drawn, "path": None, "lora": None}
        return {**drawn, "path": drawn.get("path") or "models/base", "architecture": None, "tokenizer": None}
    if title == "Train":
        if drawn.get("zero_stage") == 0:
            drawn = {**drawn, "precision": "bf16"}
        if drawn.get("zero_stage") != 3:
            return {**drawn, "offload_parameters": False, "offload_optimizer": False, "nvme_path": None}
        return drawn if drawn.get("offload_parameters") else {**drawn, "nvme_path": None}
    if title == "Placement":
        return drawn | ({} if drawn.get("nodes") is None else {"min_nodes": None})
    if title == "RewardTerm":
        names = {"model": "path", "support": "path", "regex": "pattern", "function": "function"}
        needed = names.get(drawn.get("kind", "model"), "kind")
        return drawn if drawn.get(needed) is not None else {**drawn, needed: "given"}
    if title in ("SftSpec", "RmSpec") and drawn["model"].get("attention") == "flash":
        return {**drawn, "data": {**drawn["data"], "packing": False}}
    if title == "PpoSpec":
        return _mended_ppo(drawn)
    if title in ("Chunking", "RagSpec"):
        return _mended_index(title, drawn)
    if title in ("SupportSettings", "EvalSpec"):
        return _mended_evaluation(title, drawn)
    return drawn


def _mended_index(title: str, drawn: dict[str, Any]) -> dict[str, Any]:
    if title == "Chunking":
        return {**drawn, "tokens": drawn.get("tokens", 200), "overlap": 0}
    if drawn.get("embedder") is None:
        return {**drawn, "index": {**drawn.get("index", {}), "lexical": True}}
    return drawn


def _mended_evaluation(title: str, drawn: dict[str, Any]) -> dict[str, Any]:
    if title == "SupportSettings":
        needs = drawn.get("scorer") == "nli"
        return {**drawn, "path": (drawn.get("path") or "models/nli") if needs else None}
    passages, answers = drawn.get("passages", "none"), drawn.get("answers", {})
    retrieval = (drawn.get("retrieval") or {"index": "models/index"}) if passages == "index" else None
    if drawn.get("format") == "multiple_choice":
        answers = {**answers, "samples": 0, "min_support": None}
    if passages == "none":
        answers = {**answers, "min_support": None}
    grading = drawn.get("grading", {})
    if not answers.get("samples") and grading.get("confidence") == "agreement":
        grading = {**grading, "confidence": "probability"}
    corpus = drawn.get("corpus") if passages == "gold" else None
    return {**drawn, "retrieval": retrieval, "corpus": corpus, "answers": answers, "grading": grading}


def _mended_ppo(drawn: dict[str, Any]) -> dict[str, Any]:
    model = drawn["model"] if drawn["model"]["path"] else {"path": "models/sft"}
    train, critic, rollout = drawn.get("train", {}), drawn.get("critic", {}), drawn.get("rollout", {})
    if model.get("attention") == "flash":
        model = {**model, "attention": "auto"}
    if model.get("lora") is None:
        critic = {**critic, "share_base": False}
    if critic.get("zero_stage") != 3 or train.get("nvme_path") is not None:
        critic = {**critic, "offload_optimizer": False, "offload_parameters": False}
    if critic.get("zero_stage") == 0 or train.get("zero_stage") == 0:
        train, critic = {**train, "precision": "bf16"}, {**critic, "offload_optimizer": False}
    if rollout.get("samples_per_prompt", 1) == 1:
        drawn = {**drawn, "ppo": {**drawn.get("ppo", {}), "estimator": "gae"}}
    return {**drawn, "model": model, "train": train, "critic": critic}
