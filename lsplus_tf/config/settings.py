"""What the parts of a config are made of: strict numbers, and a base class without spare keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lsplus_tf.errors import MOST

# Strict, so that neither `yes` nor a quoted "3" passes for a number.
Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
Weight = Annotated[float, Field(ge=0, le=1, strict=True)]
# What multiplies something; float32, in which it is computed, ends at 3.4e38.
Positive = Annotated[float, Field(gt=0, le=1e38, strict=True)]
NotNegative = Annotated[float, Field(ge=0, le=1e38, strict=True)]
BelowOne = Annotated[float, Field(ge=0, lt=1, strict=True)]
Count = Annotated[int, Field(gt=0, le=MOST, strict=True)]  # where it allocates, a field has less
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # what NumPy's generator takes
# A YAML file has 3 where a class, or its column, is called "3".
ClassName = Annotated[
    str, BeforeValidator(lambda given: str(given) if type(given) is int else given)
]


class Settings(BaseModel):
    """A part of a config: frozen, and without room for a key that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)
