"""What all calibrators are: fitted on logits and labels, used on logits, kept as JSON."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from lsplus_tf.bounded import json_of, read_text
from lsplus_tf.calibrators.arrays import LARGEST, within_range
from lsplus_tf.calibrators.provenance import (
    InputKind,
    Provenance,
    check_document,
    check_held_out,
    exactly,
    kind_of,
    warn_of_another_model,
)
from lsplus_tf.errors import (
    InputError,
    MissingDataError,
    check_choice,
    check_count,
    check_number,
    one_line,
    some_of,
)
from lsplus_tf.files import FileKind, begins_with, writing
from lsplus_tf.metrics.weighted import samples_of
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.arrays import of_impossible
from lsplus_tf.predictions.checks import Kind, exchanged, numbers
from lsplus_tf.tables import Rows

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Read = TypeVar("Read")
Groups = NDArray[np.intp] | None

CALIBRATORS: dict[str, type[Calibrator]] = {}
"""Every calibrator by its short name, as configs and the command line have it."""

_FORMAT = "lsplus_tf calibrator"
_VERSION = 2
CALIBRATOR = FileKind(
    "a calibrator", begins_with(rb'\s*\{\s*"format":\s*"' + _FORMAT.encode() + b'"'), ".json"
)
_KEYS_1 = ("calibrator", "settings", "n_classes", "class_names", "fitted")
_VERSIONS = {1: _KEYS_1, 2: (*_KEYS_1, "inputs", "model", "data", "held_out", "made_by")}
_OPTIONAL = ("class_names",)  # which the first files did not have
_NO_JSON = "not a calibrator saved by lsplus_tf, which is JSON"
_MOST_CLASSES = 1_000_000  # of a file
# Bytes of a file, and values in it; the matrix of 1,000 classes has a million in 21 MB, isotonic
# calibration with 200,000 corners 400,000 in 8 MB.
_LARGEST_FILE, _MOST_VALUES = 32 * 2**20, 2_000_000
_PROBED = 8  # rows, of few classes
_PROBED_NUMBERS = 2**20
_SMALLEST = 1 / LARGEST  # that divides
_LONGEST = 250  # characters of what is said of a wrong one
# What wrong documents raise where they are read.
WRONG = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
_ROW_SUM_TOLERANCE = 1e-3


class Calibrator(Provenance, ClassifierMixin, BaseEstimator):
    """A map from a classifier's logits to calibrated probabilities, in scikit-learn's manner.

    It is what all calibrators have in common: fit one of them, such as `TemperatureScaling`.

    Attributes
    ----------
    n_classes_ : int
        K of the logits that it was fitted on.
    classes_ : ndarray of int, shape (K,)
        0..K-1.
    class_names_ : tuple of str, length K, or None
        What the classes of the `Predictions` are called that it was fitted on, which others must
        then have in the same order. None of arrays, of classes that are called 0..K-1, and of
        files of versions that kept none: those fit any.
    kind_ : {"logits", "log-probabilities"} or None
        What it was fitted on: that of the `Predictions`; of arrays log-probabilities where the
        exponentials of each row sum to 1. None in files of versions that did not keep it, as for
        all that follows.
    model_ : str or None
        `lsplus_tf.fingerprint` of the model that gave them, if the `Predictions` have it.
    data_ : dict or None
        "digest" of the cases, as `Predictions.digest` gives it, and how many "cases" there were.
    held_out_ : dict or None
        What `lsplus-tf calibrate` found on held-out folds: "cases" and "folds", the "brier" score,
        "ece" and "accuracy" "before" and "after" (of the former two "change" is the 95% interval
        of the difference), and whether it is "shown_to_help". None after `fit`; of `LabelShift`
        it is of the fit, before it is adapted.
    made_by_ : str or None
        The package and its version.

    Examples
    --------
    >>> from lsplus_tf.calibrators import Calibrator, TemperatureScaling
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> fitted.predict_proba([[2, 0]]).round(4).tolist()
    [[0.75, 0.25]]
    >>> Calibrator.from_json(fitted.to_json()).name  # of any kind
    'temperature'
    """

    name: ClassVar[str]
    """Short name, in configs and files."""

    _fitted: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    """Attributes that `_fit` sets, and what makes them of their JSON."""

    _needs_every_class: ClassVar[bool] = False
    """Whether something is estimated class by class, so that each must be among the labels."""

    ignores_constants: ClassVar[bool] = True
    """Whether a constant added to a row of logits changes nothing, so that log p is as good."""

    takes_weights: ClassVar[bool] = False
    """Whether it can be fitted to samples that count more and less; `_fit` then has `weights`."""

    _sizes: ClassVar[dict[str, Callable[[int], tuple[int, ...]]]] = {}
    """The shape of attributes, of K; a file may have any."""

    _above_zero: ClassVar[tuple[str, ...]] = ()
    """Attributes whose numbers are."""

    n_classes_: int
    class_names_: tuple[str, ...] | None = None
    kind_: InputKind | None = None
    held_out_: dict[str, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):
            CALIBRATORS[cls.name] = cls

    @abstractmethod
    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        """Set the attributes of `_fitted`, given valid logits (N, K) and labels (N,).

        Weights (N,) are above 0, and sum to as many samples as they are taken for; see
        :mod:`lsplus_tf.metrics.weighted`.
        """

    @abstractmethod
    def _probabilities(self, logits: Any, xp: Any) -> Any:
        """Probabilities (N, K) of float64 logits (N, K), in `numpy` or `keras.ops`."""

    @abstractmethod
    def _samples_needed(self, num_classes: int) -> int:
        """How many samples `fit` asks for: the numbers that nothing but the data holds."""

    def _estimate_error(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats, groups: Groups
    ) -> None:
        """Set what is known of the error of the fit, after `_fit`: of most calibrators nothing."""

    def _check_settings(self, num_classes: int) -> None:
        """Raise `InputError` unless the settings can be those of a fit to K classes."""

    def _check_fitted(self) -> None:
        """Raise `ValueError` unless attributes can be those of a fit, and give probabilities."""
        for name in self._fitted:
            value = getattr(self, name)
            parts = value if isinstance(value, list) else [] if value is None else [value]
            if not all((np.abs(part) <= LARGEST).all() for part in parts):
                raise ValueError(f"{name}: expected finite numbers of at most {LARGEST:g}")
        for name, shape in self._sizes.items():
            expected, received = shape(self.n_classes_), np.shape(getattr(self, name))
            if received != expected:
                raise ValueError(f"{name}: expected shape {expected}, received {received}")
        for name in self._above_zero:
            if not (np.asarray(getattr(self, name)) >= _SMALLEST).all():
                raise ValueError(f"{name}: expected numbers above 0, of at least {_SMALLEST:g}")

    def fit(
        self,
        logits: ArrayLike | Predictions,
        labels: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit to held-out predictions; never to those that the result is judged on.

        Parameters
        ----------
        logits : array_like, shape (N, K), or Predictions
            Finite numbers; of probabilities, their logarithms. In this order as everywhere in
            scikit-learn: what is known, then what is to be learned.
        labels : array_like of int, shape (N,) or (N, 1), optional
            True classes in [0, K); those of the predictions.
        sample_weight : array_like, shape (N,), optional
            How often each sample counts, as if it were repeated; those of the predictions.

        Raises
        ------
        InputError
            Shapes that do not fit, NaN, infinities, what looks like probabilities, labels out of
            range, fewer samples than the method needs, or a class without samples where the method
            estimates something for each class. Vector, matrix and Dirichlet scaling need 2 K.
        """
        kind: InputKind
        if isinstance(logits, Predictions):
            for name, beside in (("labels", labels), ("sample_weight", sample_weight)):
                if beside is not None:
                    raise InputError(
                        f"{name}: expected none beside Predictions, which have their own"
                    )
            given = logits.counted()
            kind = "logits" if given.kind == "logits" else "log-probabilities"
        elif labels is None:
            raise InputError("labels: expected (logits, labels), or Predictions, received none")
        else:
            exchanged(labels, "logits", logits, Rows(), "logits come first, then labels")
            given = Predictions(
                labels, logits=check_logits(logits), sample_weight=sample_weight
            ).counted()
            kind = kind_of(given.logits)  # type: ignore[arg-type]
        checked, true_classes = given.logits.astype(np.float64), as_predictions(given).labels
        samples, num_classes = checked.shape
        self._check_settings(num_classes)
        if np.abs(checked).max() > LARGEST:
            raise InputError(f"logits: expected numbers of at most {LARGEST:g} in size")
        needed = self._samples_needed(num_classes)
        if samples < needed:
            raise InputError(
                f"logits: {type(self).__name__} needs at least {needed} samples for {num_classes} "
                f"classes, received {samples}; TemperatureScaling needs one"
            )
        if self._needs_every_class:
            self._refuse_absent_classes(given)
        if given.sample_weight is None:
            self._fit(checked, true_classes)
        elif self.takes_weights:
            weights, _ = samples_of(given.sample_weight, given.weights_are_counts)
            self._fit(checked, true_classes, weights)
        else:
            given.refuse_weights(type(self).__name__)
        self._estimate_error(checked, true_classes, given.weights, given.groups)
        self.n_classes_ = num_classes
        self.classes_ = np.arange(num_classes)
        self.class_names_ = None if are_unnamed(given.class_names) else given.class_names
        try:
            self._check_fitted()
        except ValueError as error:
            raise InputError(
                f"logits: {type(self).__name__} cannot be fitted to numbers of this size "
                f"({one_line(error)})"
            ) from error
        self._remember(given)
        self.kind_, self.held_out_ = kind, None
        return self

    def predict_proba(self, logits: ArrayLike) -> Floats:
        """Calibrated probabilities of logits; :meth:`calibrate` has them with all else.

        Parameters
        ----------
        logits : array_like, shape (N, K)
            Of the classes that it was fitted on.

        Returns
        -------
        ndarray of float64, shape (N, K)
            In [0, 1]; every row sums to 1.

        Raises
        ------
        InputError
            Another K than in `fit`, or what `fit` refuses in logits.
        """
        return self._calibrated(self._check_fitting_logits(logits), np)

    def _calibrated(self, logits: Any, xp: Any) -> Any:
        """Probabilities (N, K) of any finite float64 logits (N, K), in `numpy` or `keras.ops`."""
        return self._probabilities(within_range(logits, xp), xp)

    def calibrate(self, predictions: Predictions) -> Predictions:
        """The same cases with calibrated probabilities.

        Raises
        ------
        InputError
            Other classes than in `fit`, or in another order.

        Warns
        -----
        UserWarning
            Predictions of another model than it was fitted to, where both are known.

        Examples
        --------
        >>> from lsplus_tf import Predictions
        >>> from lsplus_tf.calibrators import TemperatureScaling
        >>> held_out = Predictions([0, 0, 0, 1], logits=[[2, 0], [2, 0], [2, 0], [2, 0]])
        >>> TemperatureScaling().fit(held_out).calibrate(held_out).confidence.round(4).tolist()
        [0.75, 0.75, 0.75, 0.75]
        """
        logits = self._of_as_many_classes(predictions.logits.astype(np.float64))
        check_classes("predictions", predictions.class_names, self.class_names_, "the calibrator's")
        warn_of_another_model("calibrator", self.model_, predictions.model)
        calibrated = self._calibrated(logits, np)
        return predictions.computed("probabilities", calibrated, how=f"calibrated by {self.name}")

    def predict(self, logits: ArrayLike) -> NDArray[np.int64]:
        """The most probable classes (N,) after calibration."""
        return self.predict_proba(logits).argmax(axis=1)

    def same_as(self, other: Calibrator) -> bool:
        """Whether another is the same map of the same classes, wherever it is from.

        Examples
        --------
        >>> from lsplus_tf.calibrators import TemperatureScaling
        >>> one = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
        >>> other = TemperatureScaling().fit([[3, 1], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
        >>> one.same_as(other), one.data_ == other.data_
        (True, False)
        """
        mine, theirs = (json.loads(each.to_json()) for each in (self, other))
        parts = ("calibrator", "n_classes", "class_names", "fitted")
        return all(mine[part] == theirs[part] for part in parts)

    def to_layer(self) -> keras.layers.Layer:
        """A Keras layer that takes logits (B, K) and gives the same probabilities, in float32."""
        from lsplus_tf.calibrators.keras import CalibrationLayer

        return CalibrationLayer(self.to_json())

    def to_json(self) -> str:
        """All that makes this fitted calibrator, for :meth:`from_json`; the floats are exact."""
        check_is_fitted(self)
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "calibrator": self.name,
            "settings": self.get_params(),
            "n_classes": self.n_classes_,
            "class_names": None if self.class_names_ is None else list(self.class_names_),
            "inputs": self.kind_,
            **self._provenance(),
            "held_out": self.held_out_,
            "fitted": {name: getattr(self, name) for name in self._fitted},
        }
        return json.dumps(document, default=lambda array: array.tolist(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The fitted calibrator of :meth:`to_json`; `Calibrator.from_json` takes any kind.

        Raises
        ------
        InputError
            Not such a text, or one of another kind of calibrator.
        """
        document = json_document(text, _NO_JSON)
        try:
            check_document(document, _FORMAT, _VERSIONS, _OPTIONAL)
            name = document["calibrator"]
            if not isinstance(name, str) or name not in CALIBRATORS:
                raise ValueError(
                    f"calibrator: expected one of {', '.join(CALIBRATORS)}, received {name!r:.40}"
                )
            calibrator = CALIBRATORS[name](**document["settings"])
            classes = check_count("n_classes", document["n_classes"], least=2)
            if classes > _MOST_CLASSES:
                raise ValueError(f"n_classes: expected at most {_MOST_CLASSES}")
            calibrator._check_settings(classes)
            exactly(document["fitted"], tuple(calibrator._fitted), "fitted")
            for name, restore in calibrator._fitted.items():
                setattr(calibrator, name, restore(document["fitted"][name]))
            calibrator.n_classes_, calibrator.classes_ = classes, np.arange(classes)
            calibrator.class_names_ = _restored_names(document.get("class_names"), classes)
            calibrator._restore_provenance(document)
            kind, held_out = document.get("inputs"), document.get("held_out")
            if kind is not None:
                check_choice("inputs", kind, InputKind)
            check_held_out(held_out)
            calibrator.kind_, calibrator.held_out_ = kind, held_out
            calibrator._check_fitted()
            # What was cut or edited may have shapes that do not go together, or no probabilities.
            some = np.eye(min(_PROBED, max(1, _PROBED_NUMBERS // classes), classes), classes)
            with np.errstate(all="ignore"):
                probabilities = calibrator._calibrated(some, np)
            if probabilities.shape != some.shape:
                raise ValueError(f"it is not of {classes} classes")
            Predictions(None, probabilities)
        except WRONG as error:
            raise InputError(
                f"not a calibrator saved by lsplus_tf ({one_line(error, _LONGEST)})"
            ) from error
        if not isinstance(calibrator, cls):
            raise InputError(f"expected a {cls.__name__}, it is a {type(calibrator).__name__}")
        return calibrator

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file, whole or not at all.

        Raises
        ------
        InputError
            There is something that is no calibrator of ours, or nothing can be written.
        """
        text = self.to_json()
        with writing(path, CALIBRATOR, argument="path") as new:
            new.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The calibrator that :meth:`save` wrote; `Calibrator.load` takes any kind.

        Raises
        ------
        InputError
            No such file, or not such a file.
        """
        return read_saved(path, "a calibrator", cls.from_json, _NO_JSON)

    @classmethod
    def check_takes(cls, kind: Kind, argument: str) -> None:
        """Raise `InputError` for probabilities where a constant in a row of logits matters.

        Parameters
        ----------
        kind : {"probabilities", "logits"}
            What it is to be used on.
        argument : str
            What chose the calibrator, for the message.

        Examples
        --------
        >>> from lsplus_tf.calibrators import VectorScaling
        >>> VectorScaling.check_takes("probabilities", "calibrator")
        Traceback (most recent call last):
        lsplus_tf.errors.InputError: calibrator: vector is a function of the logits, which
        probabilities tell but for a constant in each row; take bias_corrected_temperature,
        dirichlet, histogram, isotonic, label_shift, logit_normalization, platt, temperature or
        weight, or give logits, as a model without its softmax does
        """
        if kind == "logits" or cls.ignores_constants:
            return
        *others, last = sorted(name for name, one in CALIBRATORS.items() if one.ignores_constants)
        raise InputError(
            f"{argument}: {cls.name} is a function of the logits, which probabilities tell but for "
            f"a constant in each row; take {', '.join(others)} or {last}, or give logits, as a "
            "model without its softmax does"
        )

    def _check_fitting_logits(self, logits: ArrayLike) -> Floats:
        return self._of_as_many_classes(check_logits(logits))

    def _of_as_many_classes(self, checked: Floats) -> Floats:
        check_is_fitted(self)
        if checked.shape[1] != self.n_classes_:
            raise InputError(
                f"logits: expected {self.n_classes_} columns, one for each class that "
                f"{type(self).__name__} was fitted on, received shape {checked.shape}"
            )
        return checked

    def _refuse_absent_classes(self, given: Predictions) -> None:
        absent = [given.class_names[k] for k in np.flatnonzero(given.class_counts == 0)]
        if absent:
            classes = "class" if len(absent) == 1 else "classes"
            listed = ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else "")
            raise InputError(
                f"labels: {type(self).__name__} needs samples of every class, received none of "
                f"{classes} {listed}; TemperatureScaling does not"
            )


def read_saved(path: str | Path, what: str, parse: Callable[[str], Read], no_json: str) -> Read:
    """What a file holds, or `InputError` that names the file.

    Parameters
    ----------
    path : str or Path
    what : str
        Is expected there, for the message.
    parse : callable
        Makes it of the file's text.
    no_json : str
        What to say of a file that is no text.
    """
    try:
        text = read_text(Path(path).expanduser(), _LARGEST_FILE)
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: expected {what}, there is no file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{path}: {no_json} ({error})") from error
    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def check_logits(logits: ArrayLike) -> Floats:
    """Logits (N, K) as float64, or `InputError` with what is wrong with them."""
    array = numbers("logits", logits, Rows())
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        hint = ""
        if array.shape[1:] in ((), (1,)) and array.dtype.kind == "f":
            hint = "; of one column z of two classes give np.stack([np.zeros_like(z), z], axis=1)"
        raise InputError(
            "logits: expected shape (N, K), a row for each sample and a column for each class, at "
            f"least two, received shape {array.shape}{hint}"
        )
    rows = array.astype(np.float64)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        hint = of_impossible(rows)
        raise InputError(
            f"logits: expected finite numbers, received {rows[row, column]} at [{row}, {column}]"
            + (f"; {hint}" if hint else "")
        )
    if len(rows) > 1 and rows.min() >= 0 and rows.max() <= 1:
        sums = rows.sum(axis=1)
        if np.abs(sums - 1).max() <= _ROW_SUM_TOLERANCE:
            raise InputError(
                "logits: expected logits, received rows of numbers in [0, 1] that sum to 1; "
                "of probabilities, give their logarithms"
            )
    return rows


def check_is_calibrator(given: object, argument: str = "calibrator") -> None:
    """Raise `InputError` unless something is a calibrator.

    Parameters
    ----------
    given : object
    argument : str
        What it was given as.

    Examples
    --------
    >>> check_is_calibrator("temperature.json")
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: calibrator: expected a fitted Calibrator, received a str;
    Calibrator.load reads files
    """
    if not isinstance(given, Calibrator):
        raise InputError(
            f"{argument}: expected a fitted Calibrator, received a {type(given).__name__}; "
            "Calibrator.load reads files"
        )


def check_classes(
    argument: str, received: Sequence[str], expected: Sequence[str] | None, whose: str
) -> None:
    """Raise `InputError` unless classes are the same in the same order, or one side has no names.

    Parameters
    ----------
    argument : str
        What has the names `received`, for the message.
    received : sequence of str
    expected : sequence of str or None
    whose : str
        Whose classes the expected ones are.

    Examples
    --------
    >>> check_classes("target", ["ill", "well"], ["well", "ill"], "the calibrator's")
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: target: expected the calibrator's classes well, ill in this order,
    received ill, well; Predictions.ordered puts them in another order
    """
    if expected is None or tuple(received) == tuple(expected):
        return
    if len(received) == len(expected) and (are_unnamed(received) or are_unnamed(expected)):
        return
    mended = sorted(received) == sorted(expected)
    raise InputError(
        f"{argument}: expected {whose} classes {some_of(expected, 12)} in this order, received "
        f"{some_of(received, 12)}"
        + ("; Predictions.ordered puts them in another order" if mended else "")
    )


def are_unnamed(class_names: Sequence[str]) -> bool:
    """Whether they are called 0..K-1, or class_0 and so on, as what has no names calls them.

    Examples
    --------
    >>> are_unnamed(["0", "1"]), are_unnamed(["ill", "well"])
    (True, False)
    """
    numbers = [str(k) for k in range(len(class_names))]
    return [*class_names] in (numbers, [f"class_{k}" for k in numbers])


def json_document(text: str, otherwise: str) -> Any:
    """What a JSON text has, within the bounds of `bounded`; `InputError` with `otherwise`."""
    try:
        return json_of(text, _LARGEST_FILE, most_values=_MOST_VALUES)
    except InputError as error:
        raise InputError(f"{otherwise} ({one_line(error, _LONGEST)})") from error


def _restored_names(names: Any, classes: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) != len(names)
        or len(names) != classes
    ):
        raise ValueError(f"its class names are not {classes} different texts")
    return tuple(names)


def as_number(value: Any) -> float:
    """A fitted number from its JSON."""
    return check_number("a fitted number", value, least=-math.inf)


def as_array(values: Any) -> Floats:
    """A fitted array from its JSON."""
    found = np.asarray(values)
    if found.dtype.kind not in "fiu":
        raise ValueError("expected an array of numbers")
    return found.astype(np.float64)


def as_arrays(values: Any) -> list[Floats]:
    """Fitted arrays of different lengths from their JSON."""
    return [as_array(row) for row in values]
