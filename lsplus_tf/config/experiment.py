"""The schema of a whole experiment, and what must fit between its sections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lsplus_tf.config.dataset import Dataset
from lsplus_tf.config.methods import (
    METHODS,
    AlsoReleased,
    ClassAccuracy,
    HardLabels,
    LabelSmoothing,
    LSPlus,
    Method,
    MethodSettings,
    NeedsClassAccuracy,
    TfKDSelfTraining,
    short_names,
)
from lsplus_tf.config.questions import OF_FEATURES, Question
from lsplus_tf.config.sections import Backbone, FineTuning, Protocol
from lsplus_tf.config.settings import ClassName, Count, Seed, Settings
from lsplus_tf.conventions import Convention
from lsplus_tf.errors import InputError, did_you_mean, some_of

CalibratorName = Literal[
    "temperature",
    "class_distribution_temperature",
    "bias_corrected_temperature",
    "vector",
    "matrix",
    "dirichlet",
    "platt",
    "isotonic",
    "histogram",
    "weight",
    "logit_normalization",
    "label_shift",
]
EnsembleCalibration = Literal["whole", "members"]


REPORT = "report"
REPORT_SELECTED = "report_selected"  # of some methods or seeds
_PORTS = {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
NOT_ON_WINDOWS = {"con", "prn", "aux", "nul", *_PORTS}
# The runs of a method lie in a folder of its name, beside the reports, and its soft labels in a
# figure, beside soft_labels_truth.png.
_TAKEN = {REPORT, REPORT_SELECTED, "truth", *NOT_ON_WINDOWS}
# What is compared and shown: it changes no run's results.
_OF_THE_REPORT = {
    "methods",
    "optional_methods",
    "seeds",
    "ensembles",
    "calibrators",
    "ensemble_calibration",
    "features",
    "positive",
    "questions",
}
_LONGEST = 100  # characters, so that files may be named after it
_NAMED = 10  # classes that an error names

ClassNames = ClassName | Annotated[tuple[ClassName, ...], Field(min_length=1)]
MethodName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=_LONGEST)]


class Experiment(Settings):
    """One comparison: the same network on the same images, trained with several methods."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=_LONGEST)] = (
        Field(description="of the experiment; its folder is runs/NAME unless --out says otherwise")
    )
    convention: Convention = Field(
        default="standard",
        description="the paper's text, or the LS+ authors' released code: its losses, early "
        "stopping of LS and LS+ alone, and no step for what is left over of the training images",
    )
    dataset: Dataset
    backbone: Backbone = Backbone()
    protocol: Protocol
    methods: dict[MethodName, Method] = Field(
        min_length=1, description="what is compared, in the order of the tables"
    )
    optional_methods: tuple[MethodName, ...] = Field(
        default=(),
        description="methods that are trained only where --methods names them, or with "
        "--all-methods",
    )
    seeds: tuple[Seed, ...] = Field(
        min_length=1, max_length=10_000, description="every method is trained once with each"
    )
    ensembles: tuple[MethodName, ...] = Field(
        default=(),
        description="methods whose seeds' mean probabilities are one more row of the table",
    )
    calibrators: tuple[CalibratorName, ...] = Field(
        default=(),
        description="post-hoc steps, fitted to validation; each is one more row for every method",
    )
    positive: tuple[ClassNames, ...] | None = Field(
        default=None,
        description="the classes that matter most, such as [MEL]: the report leads with how many "
        "of their images are found; [[MEL, BCC, AKIEC]] counts several as one, [] none. By "
        "default those of a data set that is known by name, as `lsplus-tf datasets` lists them",
    )
    ensemble_calibration: tuple[EnsembleCalibration, ...] = Field(
        default=("whole",),
        min_length=1,
        description="whether a calibrator is fitted to an ensemble's mean probabilities (whole), "
        "or each member has its own before the mean (members); both make a row for each",
    )
    features: Count | None = Field(
        default=None,
        description="how many training images, drawn evenly over the classes and the same for all "
        "runs, a run keeps the features of, the outputs before the logits, for the report's t-SNE "
        "figure; null keeps none, and finished runs stay as they are",
    )

    questions: dict[MethodName, Question] | None = Field(
        default=None,
        max_length=100,
        description="what the report answers, as tests; null asks nothing",
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _of_the_convention(cls, methods: Any, info: ValidationInfo) -> Any:
        """Give the methods of which the config says nothing else the experiment's convention."""
        convention = info.data.get("convention", "standard")
        if convention == "standard" or not isinstance(methods, dict):
            return methods
        return {name: _with_convention(method, convention) for name, method in methods.items()}

    @model_validator(mode="after")
    def _what_depends_on_what(self) -> Experiment:
        if self.name.lower().partition(".")[0] in NOT_ON_WINDOWS:
            raise ValueError(f"name: expected another, Windows has no folder called {self.name}")
        for name in self.methods:
            if name in _TAKEN:
                raise ValueError(
                    f"methods: expected another name than {name}, which lsplus-tf or Windows takes "
                    "for something else"
                )
            if name.removesuffix("_ensemble") in self.ensembles and name.endswith("_ensemble"):
                raise ValueError(
                    f"methods: expected another name than {name}, which is that of an ensemble"
                )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: expected different numbers, received {list(self.seeds)}")
        if self.backbone.weights is None and self.protocol.fine_tuning != FineTuning():
            raise ValueError(
                "protocol.fine_tuning: frozen weights would be random; set backbone.weights"
            )
        if self.hard_label_method is None:
            for name, method in self.methods.items():
                if what := _from_hard_labels(method):
                    raise ValueError(
                        f"methods: {name} takes its {what} from hard-label runs, so a method "
                        "with loss: hard_labels, without mixup and of the experiment's convention, "
                        f"{self.convention}, is needed"
                    )
        for key in ("optional_methods", "ensembles"):
            for name in getattr(self, key):
                if name not in self.methods:
                    known = ", ".join(self.methods)
                    raise ValueError(f"{key}: expected methods ({known}), received {name}")
        for key in ("optional_methods", "ensembles", "calibrators", "ensemble_calibration"):
            names = getattr(self, key)
            if len(set(names)) != len(names):
                raise ValueError(f"{key}: expected different names, received {names}")
        if self.ensemble_calibration != ("whole",) and not (self.ensembles and self.calibrators):
            raise ValueError("ensemble_calibration: expected ensembles and calibrators beside it")
        if not self.usual_methods:
            raise ValueError("optional_methods: expected some of the methods, received all")
        return self

    @model_validator(mode="after")
    def _questions_of_rows(self) -> Experiment:
        for name, question in (self.questions or {}).items():
            key = f"questions.{name}"
            for field, rows in (("better", [question.better]), ("than", question.than)):
                for row in rows:
                    self._check_row(f"{key}.{field}", row)
            of_features = [metric for metric in question.metrics if metric in OF_FEATURES]
            if of_features and self.features is None:
                raise ValueError(
                    f"{key}.metrics: expected features, how many training images runs keep them "
                    f"of, beside {', '.join(of_features)}"
                )
            same = [row for row in question.than if method_of(row) == method_of(question.better)]
            if of_features and same:
                raise ValueError(
                    f"{key}.metrics: expected rows of different networks beside "
                    f"{', '.join(of_features)}, received {question.better} and {same[0]}, which "
                    "have the same features"
                )
        return self

    def _check_row(self, key: str, row: str) -> None:
        """Refuse what is no row of the table, or is a single prediction."""
        if self._is_row(row):
            return
        if self._is_row(row.replace("_ensemble", "")):
            raise ValueError(
                f"{key}: expected METHOD or METHOD+CALIBRATOR, received {row!r}: an ensemble is a "
                "single prediction, which says nothing of new seeds"
            )
        rows = [*self.methods, *(f"METHOD+{name}" for name in self.calibrators)]
        hint = did_you_mean(row, rows)
        raise ValueError(f"{key}: expected one of {some_of(rows, _NAMED)}, received {row!r}{hint}")

    def _is_row(self, row: str) -> bool:
        method, plus, calibrator = row.partition("+")
        return method in self.methods and (not plus or calibrator in self.calibrators)

    @property
    def usual_methods(self) -> tuple[str, ...]:
        """The methods that are trained where none are named."""
        return tuple(name for name in self.methods if name not in self.optional_methods)

    @property
    def titles(self) -> dict[str, str]:
        """What the methods are called in tables: HL, LS, LS+ ...

        Of several that would have one title the only one that is not optional has it.
        """
        usual = {name: self.methods[name] for name in self.usual_methods}
        every = short_names(self.methods, self.convention)
        return every | short_names(usual, self.convention)

    @property
    def hard_label_method(self) -> str | None:
        """The name of the first method that trains with hard labels, on images as they are."""
        for name, method in self.methods.items():
            if not isinstance(method, HardLabels) or method.mixup:
                continue
            if method.convention == self.convention:
                return name
        return None

    def protocol_of(self, method_name: str) -> Protocol:
        """How a method is trained: the released code ends LS and LS+ early, and no other."""
        stops = isinstance(self.methods[method_name], (LabelSmoothing, LSPlus))
        if self.convention == "standard" or stops:
            return self.protocol
        return self.protocol.model_copy(update={"early_stopping": None})

    def steps_per_epoch(self, samples: int) -> int:
        """The training steps of an epoch of so many images.

        The last step has what is left over, or in the released code there is none of it: what an
        epoch's shuffle has last is then not seen in that epoch.

        Raises
        ------
        InputError
            There is no step.
        """
        batch_size = self.protocol.batch_size
        if self.convention == "standard":
            return math.ceil(samples / batch_size)
        if samples < batch_size:
            raise InputError(
                f"protocol.batch_size: expected at most the {samples} training images, as "
                f"convention: released_code has whole batches only, received {batch_size}"
            )
        return samples // batch_size

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Raise `InputError` unless what the config says of the classes fits these.

        Class accuracies are one for each, and `positive` has names of some.
        """
        for positive in self.positive or ():
            chosen = (positive,) if isinstance(positive, str) else positive
            unknown = [name for name in chosen if name not in class_names]
            if unknown or len(set(chosen)) in (0, len(class_names)):
                raise InputError(
                    f"positive: expected some of the classes of {self.dataset.name}, "
                    f"{some_of(class_names, _NAMED)}, and one left for the rest, received "
                    f"{', '.join(unknown or chosen)}"
                )
        for name, method in self.methods.items():
            given = method.given_accuracies if isinstance(method, NeedsClassAccuracy) else None
            if given is not None and len(given) != len(class_names):
                more = ", ..." if len(class_names) > _NAMED else ""
                raise InputError(
                    f"methods.{name}.class_accuracy: expected {len(class_names)} numbers, one for "
                    f"each class of {self.dataset.name} ({', '.join(class_names[:_NAMED])}{more}), "
                    f"received {len(given)}"
                )

    def shared_settings(self) -> dict[str, Any]:
        """What all runs have in common and their results depend on, as plain values.

        Where the data lie is not part of it, nor how often a training is saved, nor what makes it
        fast and changes its results by rounding alone.
        """
        values = self.model_dump(mode="json", exclude=_OF_THE_REPORT)
        for key in ("data_dir", "download", "cache", "cache_dir"):
            del values["dataset"][key]
        for key in ("save_every_minutes", "devices", "jit_compile", "steps_per_execution"):
            del values["protocol"][key]
        return values

    def all_settings(self) -> dict[str, Any]:
        """The same, and what is compared with what."""
        return self.shared_settings() | self.model_dump(mode="json", include=_OF_THE_REPORT)

    def run_settings(self, method_name: str, seed: int) -> dict[str, Any]:
        """All that decides what a run gives: two runs with equal settings are equal."""
        values = self.shared_settings()
        method = self.methods[method_name]
        values["protocol"]["early_stopping"] = self.protocol_of(method_name).early_stopping
        values |= {"method": {"name": method_name, **method.model_dump(mode="json")}, "seed": seed}
        if sources := self.source_seeds(method_name, seed):
            values["method"]["from"] = {
                "method": self.hard_label_method,
                "seeds": list(sources),
            }
        return values

    def source_seeds(self, method_name: str, seed: int) -> tuple[int, ...]:
        """The seeds of the hard-label runs whose results a run takes; none for most methods."""
        method = self.methods[method_name]
        match method:
            case NeedsClassAccuracy(class_accuracy=ClassAccuracy(seeds="all")):
                return self.seeds
        return (seed,) if _from_hard_labels(method) else ()

    def needs_network(self, method_name: str) -> bool:
        """Whether a method's runs begin from, or learn from, the network of a hard-label run."""
        method = self.methods[method_name]
        return isinstance(method, TfKDSelfTraining) or (
            isinstance(method, LSPlus) and method.start_from == "hard_labels"
        )


def method_of(row: str) -> str:
    """The method of a row of the table, by its key: METHOD or METHOD+CALIBRATOR."""
    return row.partition("+")[0]


def _with_convention(method: Any, convention: Convention) -> Any:
    """The values of a method, with a convention if it can have one and they do not say which."""
    if isinstance(method, MethodSettings):
        method = method.model_dump(exclude_unset=True)
    if not isinstance(method, dict) or not isinstance(method.get("loss"), str):
        return method  # which is refused
    kind = METHODS.get(method["loss"])
    also_released = kind is not None and issubclass(kind, AlsoReleased)
    return {"convention": convention, **method} if also_released else method


def _from_hard_labels(method: MethodSettings) -> str | None:
    """What a method takes from hard-label runs, in words."""
    match method:
        case NeedsClassAccuracy(class_accuracy=ClassAccuracy()):
            return "class accuracies"
        case LSPlus(start_from="hard_labels"):
            return "initial weights"
        case TfKDSelfTraining():
            return "teacher"
    return None
