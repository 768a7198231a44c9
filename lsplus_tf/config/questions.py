"""Questions that a report answers, as tests about methods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lsplus_tf.config.settings import Settings

# Those of lsplus_tf.metrics.METRICS of which more or less is better, and those of features.
QuestionMetric = Literal[
    "accuracy",
    "auroc",
    "precision",
    "recall",
    "f1",
    "ece",
    "ace",
    "sce",
    "nll",
    "brier",
    "balanced_accuracy",
    "top1_error",
    "top2_error",
    "top5_error",
    "mce",
    "retention_auc",
    "aurc",
    "within_class_share",
    "silhouette",
]
#: Of training features, which runs keep where the config asks for them.
OF_FEATURES = ("within_class_share", "silhouette")
_LONGEST = 300  # characters

RowName = Annotated[str, Field(max_length=_LONGEST)]


class Question(Settings):
    """Is one row of the table better than others, with new seeds on new images?

    Every row of `than` is tested in every one of `metrics`, and Holm's correction is over all of
    these tests. The same networks, such as a method's with and without a calibrator, are compared
    seed by seed.
    """

    asks: Annotated[str, Field(min_length=1, max_length=_LONGEST)] | None = Field(
        default=None, description="the question in words, for the report; null makes them"
    )
    better: RowName = Field(
        description="a row of the table: METHOD or METHOD+CALIBRATOR; not an ensemble, a single "
        "prediction that says nothing of new seeds"
    )
    than: tuple[RowName, ...] = Field(
        min_length=1, max_length=100, description="the rows that it is compared with"
    )
    metrics: tuple[QuestionMetric, ...] = Field(
        min_length=1,
        description="in what: metrics of the test images, and two measures of training features, "
        "which need `features`",
    )

    @model_validator(mode="after")
    def _other_rows(self) -> Question:
        if self.better in self.than:
            raise ValueError(f"than: expected other rows than better, received {self.better!r}")
        for key in ("than", "metrics"):
            names = getattr(self, key)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{key}: expected different names, received {twice!r} twice")
        return self
