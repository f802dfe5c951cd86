"""What keys are made of: the section, and the types of values with the words that name them.

A field's `description` is what `engine new` prints beside it, the `examples` of a required one are what `engine new`
fills in, and `InputPath` marks what must exist before the launch. What a validator says continues the name of its
section: "has both path and architecture".
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

LARGEST = 2**31 - 1  # of whole numbers: fits every library and the database


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "true and false are no numbers")
    return value


def _visit_path(value: str, info: ValidationInfo) -> str:
    """Hand the path to the visitor of `engine.spec.resolve`, which may return another one."""
    if not value or "\0" in value:
        raise PydanticCustomError("path_type", "no path")
    return info.context(value) if info.context is not None else value


NUMBER = BeforeValidator(_no_truth_value)
ONE_ZERO = AfterValidator(lambda value: value + 0.0)  # -0.0 is 0.0: equal specs print and hash alike
Fraction = Annotated[float, Field(ge=0.0, le=1.0), NUMBER, ONE_ZERO]
Decay = Annotated[float, Field(ge=0.0, lt=1.0), NUMBER, ONE_ZERO]
NonNegative = Annotated[float, Field(ge=0.0), NUMBER, ONE_ZERO]
Positive = Annotated[float, Field(gt=0.0), NUMBER]
Number = Annotated[float, NUMBER, ONE_ZERO]
Count = Annotated[int, Field(ge=0, le=LARGEST), NUMBER]
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST), NUMBER]
InputPath = Annotated[str, AfterValidator(_visit_path), Field(json_schema_extra={"allowed": "a path"})]
Name = Annotated[
    str,
    Field(
        max_length=40,
        pattern=r"^[a-z][a-z0-9_]*$",
        json_schema_extra={"allowed": "at most 40 of a-z, 0-9 and '_' (a letter first)"},
    ),
]


class Section(BaseModel):
    """A part of a spec: no unknown keys, nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
