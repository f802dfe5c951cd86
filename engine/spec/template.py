"""A new spec to begin with: complete, commented and valid."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from engine.spec.canonical import to_yaml
from engine.spec.document import Document
from engine.spec.fields import Section
from engine.spec.keys import keys_of
from engine.spec.loading import unknown_kind, validate
from engine.spec.models import SPEC_TYPES, Kind

# A pipeline to begin with. `engine new KIND -o FILE` makes the specs of its stages.
NEW_PIPELINE = """\
# engine launch FILE runs all stages, in parallel where they can; each experiment is called PIPELINE-STAGE.
pipeline: mine
note: null                  # a line for people
stages:
  # spec: a file, relative to this one, or the spec itself. set: keys of it, set over it.
  # ${STAGE.OUTPUT} stands for what another stage makes: sft makes a model, rm a reward_model, ppo a policy, rag an
  # index, eval an evaluation.
  sft:
    spec: sft.yaml          # engine new sft -o sft.yaml
  rm:
    spec: rm.yaml
    set: {model.path: "${sft.model}"}
  ppo:
    spec: ppo.yaml
    set: {model.path: "${sft.model}", rewards.reward.path: "${rm.reward_model}"}
  index:
    spec: rag.yaml
  eval-sft:
    spec: eval.yaml
    set: {model.path: "${sft.model}"}
  eval-ppo:
    spec: eval.yaml
    set: {model.path: "${ppo.policy}"}
  eval-ppo-rag:
    spec: eval.yaml
    set: {model.path: "${ppo.policy}", passages: index, retrieval: {index: "${index.index}"}}
  # A stage that is made already: base: {experiment: EXP}. One that only comes after others: after: [STAGE].
"""


def new_spec(kind: str, overrides: Sequence[str] = ()) -> str:
    """Return the YAML of a new spec with every key and what it means.

    Args:
        kind: sft, rm, ppo, rag, eval or sim.
        overrides: KEY=VALUE settings; required keys that they do not set get an example.

    Raises:
        InvalidInput: when there is no such kind, or an override does not fit.
    """
    if kind not in list(Kind):
        raise unknown_kind(kind)
    document = Document.read(f"kind: {kind}\n", "spec")
    for setting in overrides:
        document.override(setting)
    _fill(document.values, SPEC_TYPES[Kind(kind)])
    return to_yaml(validate(document), comments=True)


def _fill(values: dict[str, Any], section: type[Section]) -> None:
    """Give every required key that is absent its example."""
    for name, key in keys_of(section).items():
        if not key.required:
            continue
        if name not in values:
            values[name] = copy.deepcopy(key.example) if key.example is not None else {}
        if not isinstance(values[name], dict):
            continue
        if key.section is not None:
            _fill(values[name], key.section)
        if key.entries is not None:
            for entry in values[name].values():
                if isinstance(entry, dict):
                    _fill(entry, key.entries)
