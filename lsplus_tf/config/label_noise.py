"""The section of a data set that makes some of its labels wrong, on purpose."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lsplus_tf.config.settings import ClassName, Fraction, Seed, Settings

NoisySplit = Literal["train", "validation"]
_Classes = Annotated[
    tuple[ClassName, ...],
    Field(min_length=1),
    BeforeValidator(lambda given: [given] if isinstance(given, str | int) else given),
]


class LabelNoise(Settings):
    """Labels that are changed to another class on purpose; those of the test split never are.

    Examples
    --------
    >>> LabelNoise(share=0.2, confused={"cat": "lynx", "lynx": ["cat"]}).confused
    {'cat': ('lynx',), 'lynx': ('cat',)}
    """

    share: Fraction = Field(
        description="how many labels of each class in each split are changed, rounded to whole "
        "labels"
    )
    confused: dict[ClassName, _Classes] | None = Field(
        default=None,
        min_length=1,
        description="the look-alikes of a class, of which its changed labels take one, drawn "
        "evenly; classes that are not named keep their labels. null draws evenly among all others",
    )
    splits: tuple[NoisySplit, ...] = Field(
        default=("train", "validation"), min_length=1, description="whose labels are changed"
    )
    seed: Seed = Field(
        default=0,
        description="which labels are changed, and to what. A larger share of the same seed "
        "changes the same ones and more",
    )

    @field_validator("splits", mode="before")
    @classmethod
    def _not_the_test_split(cls, given: Any) -> Any:
        if isinstance(given, list | tuple) and "test" in given:
            raise ValueError("expected train or validation, the test split is never changed")
        return given

    @model_validator(mode="after")
    def _others(self) -> LabelNoise:
        if len(set(self.splits)) != len(self.splits):
            raise ValueError(f"splits: expected different names, received {list(self.splits)}")
        for name, alike in (self.confused or {}).items():
            if name in alike:
                raise ValueError(f"confused.{name}: expected other classes, received {name} itself")
            if len(set(alike)) != len(alike):
                raise ValueError(
                    f"confused.{name}: expected different classes, received {', '.join(alike)}"
                )
        return self

    @property
    def in_words(self) -> str:
        """What is changed, for a report."""
        which, to = "every class", "any other"
        if self.confused is not None:
            which, to = ", ".join(self.confused), "look-alikes"
        return (
            f"{100 * self.share:.12g}% of the {' and '.join(self.splits)} labels of {which}, "
            f"changed to {to} (dataset.label_noise, seed {self.seed})"
        )
