"""The sets of `predict --sets` and `export --sets`: where their thresholds are from."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsplus_tf.errors import InputError, check_level, counted, did_you_mean

if TYPE_CHECKING:
    from lsplus_tf.calibrators import Calibrator, PredictionSets
    from lsplus_tf.deployment import TrainedModel
    from lsplus_tf.predictions import Predictions

_SEPARATORS = "|;/&"
_ADVICE = re.compile(r"[;:][^;:]*? --[a-z].*", re.DOTALL)  # of options that predict lacks


@dataclass(frozen=True)
class SetsAsked:
    """The options that say which sets are wanted.

    Attributes
    ----------
    error_rate : float or None
    method : str or None
    by_class : bool
    source : Path or None
        A file of held-out predictions, or of fitted sets.
    """

    error_rate: float | None
    method: str | None
    by_class: bool
    source: Path | None

    def saved(self) -> PredictionSets | None:
        """The fitted sets in the file, if it has such. Also checks the options."""
        from lsplus_tf.calibrators.base import CALIBRATOR
        from lsplus_tf.calibrators.prediction_sets import METHODS, SETS, PredictionSets

        if self.error_rate is not None:
            check_level("--sets", self.error_rate)
        if self.method is not None and self.method not in METHODS:
            raise InputError(
                f"--sets-method: expected one of {', '.join(METHODS)}, received {self.method!r}"
                f"{did_you_mean(self.method, METHODS)}"
            )
        if self.source is not None and CALIBRATOR.is_ours(self.source.expanduser()):
            raise InputError(
                f"--sets-from: expected held-out predictions, or fitted sets, received a "
                f"calibrator, {self.source}; give it as --calibrator"
            )
        if self.source is None or not SETS.is_ours(self.source.expanduser()):
            if self.error_rate is None and (self.source or self.method or self.by_class):
                option = "--sets-from" if self.source else "--sets-method"
                if not self.source and not self.method:
                    option = "--sets-by-class"
                raise InputError(
                    f"{option}: expected --sets beside it, the error rate, such as 0.1"
                )
            return None
        fitted = PredictionSets.load(self.source)
        if self.error_rate not in (None, fitted.error_rate):
            raise InputError(
                f"--sets: expected {fitted.error_rate:g}, for which the sets in {self.source} "
                f"were fitted, received {self.error_rate:g}; leave it out"
            )
        if self.method not in (None, fitted.method) or self.by_class > fitted.class_conditional:
            option = "by-class" if self.method in (None, fitted.method) else "method"
            raise InputError(
                f"--sets-{option}: expected none beside the fitted sets in {self.source}, "
                f"which are {described(fitted)}"
            )
        return fitted

    def fit(
        self, model: Path, trained: TrainedModel, calibrator: Calibrator | None
    ) -> tuple[PredictionSets, str]:
        """Sets of the scores that are written, and a line that says what they were fitted to."""
        from lsplus_tf.calibrators import PredictionSets

        held_out, said = self._held_out(model, trained.class_names)
        if calibrator is not None:
            calibrator.check_takes(held_out.kind, "--calibrator")
            held_out = calibrator.calibrate(held_out)
            if self.source is None:
                warnings.warn(
                    "if --calibrator was fitted to the run's validation split too, new cases may "
                    "be covered less often than promised, by little after temperature and by more "
                    "after isotonic or histogram; --sets-from takes predictions of other cases",
                    stacklevel=1,
                )
        settings: dict[str, Any] = {} if self.method is None else {"method": self.method}
        settings |= {"error_rate": self.error_rate, "class_conditional": self.by_class}
        sets = PredictionSets(**settings)
        sets.fit(held_out).class_names_ = trained.class_names
        return sets, f"{described(sets)}, fitted to {said}"

    def _held_out(self, model: Path, class_names: tuple[str, ...]) -> tuple[Predictions, str]:
        """Predictions with the classes in the model's order, and what they are."""
        from lsplus_tf.calibrators.base import check_classes
        from lsplus_tf.deployment import find_model
        from lsplus_tf.predictions import read_predictions
        from lsplus_tf.training import run_folder

        if self.source is not None:
            try:
                held_out = read_predictions(self.source)
            except InputError as error:
                said, cut = _ADVICE.subn("", str(error))
                if not cut:
                    raise
                raise InputError(
                    f"--sets-from: {said}; columns have no options here: name them label and "
                    "probability_CLASS, or give sets in JSON, of lsp.PredictionSets"
                ) from error
            if set(held_out.class_names) == set(class_names):
                held_out = held_out.ordered(class_names)
            check_classes("--sets-from", held_out.class_names, class_names, "the model's")
            return held_out, f"{counted(len(held_out), 'case')} of {self.source}"
        run, _ = find_model(model)
        if run is None:
            raise InputError(
                f"--sets: expected --sets-from FILE beside it, held-out predictions of {model}, "
                "which is not of a run"
            )
        held_out = run_folder.read_predictions(run, "validation")
        said = f"{counted(len(held_out), 'validation case')} of the run"
        protocol = run_folder.read_settings(run)["protocol"]
        if protocol["checkpoint"] != "last" or protocol["early_stopping"]:
            said += ", which also chose its epoch: new cases may be covered a little less often"
        return held_out, said


def check_beside(sets: PredictionSets, calibrator: Calibrator | None) -> Calibrator | None:
    """The calibrator whose scores fitted sets are of, which must be the one that is given."""
    from lsplus_tf.deployment import calibrator_beside

    if calibrator is not None and sets.calibrator is None:
        raise InputError(
            "--calibrator: expected none, as the sets in --sets-from were fitted to scores "
            "without one; give --sets-from a file of held-out predictions instead"
        )
    return calibrator_beside(sets, calibrator, argument="--calibrator")


def described(sets: PredictionSets) -> str:
    """What sets were asked for."""
    by_class = " with a threshold for each class" if sets.class_conditional else ""
    return f"{sets.method} sets{by_class} at an error rate of {sets.error_rate:g}"


def separator(class_names: tuple[str, ...]) -> str:
    """What stands between the classes of a set: a character that no class name has."""
    for each in _SEPARATORS:
        if not any(each in name for name in class_names):
            return each
    raise InputError(
        f"--sets: expected class names without one of {' '.join(_SEPARATORS)}, to stand between "
        "them in a set; each is in some name"
    )
