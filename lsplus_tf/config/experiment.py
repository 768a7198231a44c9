"""The schema of a whole experiment, and what must fit between its sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lsplus_tf.config.dataset import Dataset
from lsplus_tf.config.methods import HardLabels, Method, NeedsClassAccuracy, TfKDSelfTraining
from lsplus_tf.config.sections import Backbone, FineTuning, Protocol
from lsplus_tf.config.settings import Seed, Settings

CalibratorName = Literal[
    "temperature",
    "class_distribution_temperature",
    "vector",
    "matrix",
    "dirichlet",
    "platt",
    "isotonic",
    "histogram",
    "weight",
    "logit_normalization",
]


REPORT = "report"
REPORT_SELECTED = "report_selected"  # of some methods or seeds
_PORTS = {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
_NOT_ON_WINDOWS = {"con", "prn", "aux", "nul", *_PORTS}
# The runs of a method lie in a folder of its name, beside the reports, and its soft labels in a
# figure, beside soft_labels_truth.png.
_TAKEN = {REPORT, REPORT_SELECTED, "truth", *_NOT_ON_WINDOWS}
_OF_THE_TABLE = {"methods", "optional_methods", "seeds", "ensembles", "calibrators"}
_LONGEST = 100  # characters, so that files may be named after it

MethodName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=_LONGEST)]


class Experiment(Settings):
    """One comparison: the same network on the same images, trained with several methods."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=_LONGEST)] = (
        Field(description="of the experiment; its folder is runs/NAME unless --out says otherwise")
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
        min_length=1, description="every method is trained once with each"
    )
    ensembles: tuple[MethodName, ...] = Field(
        default=(),
        description="methods whose seeds' mean probabilities are one more row of the table",
    )
    calibrators: tuple[CalibratorName, ...] = Field(
        default=(),
        description="post-hoc steps, fitted to validation; each is one more row for every method",
    )

    @model_validator(mode="after")
    def _what_depends_on_what(self) -> Experiment:
        if self.name.lower().partition(".")[0] in _NOT_ON_WINDOWS:
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
                takes = {NeedsClassAccuracy: "class accuracies", TfKDSelfTraining: "teacher"}
                for kind, what in takes.items():
                    if isinstance(method, kind):
                        raise ValueError(
                            f"methods: {name} takes its {what} from hard-label runs, so a method "
                            "with loss: hard_labels, and without mixup, is needed"
                        )
        for key in ("optional_methods", "ensembles"):
            for name in getattr(self, key):
                if name not in self.methods:
                    known = ", ".join(self.methods)
                    raise ValueError(f"{key}: expected methods ({known}), received {name}")
        for key in ("optional_methods", "ensembles", "calibrators"):
            names = getattr(self, key)
            if len(set(names)) != len(names):
                raise ValueError(f"{key}: expected different names, received {names}")
        if not self.usual_methods:
            raise ValueError("optional_methods: expected some of the methods, received all")
        return self

    @property
    def usual_methods(self) -> tuple[str, ...]:
        """The methods that are trained where none are named."""
        return tuple(name for name in self.methods if name not in self.optional_methods)

    @property
    def hard_label_method(self) -> str | None:
        """The name of the first method that trains with hard labels, on images as they are."""
        for name, method in self.methods.items():
            standard = isinstance(method, HardLabels) and method.convention == "standard"
            if standard and not method.mixup:
                return name
        return None

    def shared_settings(self) -> dict[str, Any]:
        """What all runs have in common and their results depend on, as plain values.

        Where the data lie is not part of it, nor how often a training is saved, nor what makes it
        fast and changes its results by rounding alone.
        """
        values = self.model_dump(mode="json", exclude=_OF_THE_TABLE)
        for key in ("data_dir", "download", "cache", "cache_dir"):
            del values["dataset"][key]
        for key in ("save_every_minutes", "devices", "jit_compile", "steps_per_execution"):
            del values["protocol"][key]
        return values

    def all_settings(self) -> dict[str, Any]:
        """The same, and what is compared with what."""
        return self.shared_settings() | self.model_dump(mode="json", include=_OF_THE_TABLE)

    def run_settings(self, method_name: str, seed: int) -> dict[str, Any]:
        """All that decides what a run gives: two runs with equal settings are equal."""
        values = self.shared_settings()
        method = self.methods[method_name]
        values |= {"method": {"name": method_name, **method.model_dump(mode="json")}, "seed": seed}
        if sources := self.source_seeds(method_name, seed):
            values["method"]["from"] = {
                "method": self.hard_label_method,
                "seeds": list(sources),
            }
        return values

    def source_seeds(self, method_name: str, seed: int) -> tuple[int, ...]:
        """The seeds of the hard-label runs whose results a run takes; none for most methods."""
        match self.methods[method_name]:
            case NeedsClassAccuracy(class_accuracy=source):
                return self.seeds if source.seeds == "all" else (seed,)
            case TfKDSelfTraining():
                return (seed,)
        return ()
