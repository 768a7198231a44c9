"""What fitted calibrators and sets say of where they are from, in their files too."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.errors import check_count, check_flag, check_number, some_of
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.checks import is_fingerprint
from lsplus_tf.version import __version__

InputKind = Literal["logits", "log-probabilities"]

_ROW_SUM_TOLERANCE = 1e-3
_LONGEST_NAME = 100


class Provenance:
    """The model and cases of a fit, and the package that made it; None where they are not known.

    Attributes
    ----------
    model_ : str or None
        `lsplus_tf.fingerprint` of the model whose outputs it was fitted to, where the predictions
        say it. Another model is warned of.
    data_ : dict or None
        "digest" of the cases that it was fitted to, that of `Predictions.digest`, and how many
        "cases" there are.
    made_by_ : str or None
        The package and its version.
    """

    model_: str | None = None
    data_: dict[str, Any] | None = None
    made_by_: str | None = None

    def _remember(self, predictions: Predictions) -> None:
        self.model_ = predictions.model
        self.data_ = {"digest": predictions.digest(), "cases": len(predictions)}
        self.made_by_ = f"lsplus_tf {__version__}"

    def _provenance(self) -> dict[str, Any]:
        """Those of a document."""
        return {"model": self.model_, "data": self.data_, "made_by": self.made_by_}

    def _restore_provenance(self, document: Mapping[str, Any]) -> None:
        """Take those of a document, which may have none; `ValueError` for what is none of ours."""
        model, data, made_by = (document.get(name) for name in ("model", "data", "made_by"))
        if model is not None and not is_fingerprint(model):
            raise ValueError("model: expected a fingerprint or null")
        if data is not None:
            exactly(data, ("digest", "cases"), "data")
            if not is_fingerprint(data["digest"]):
                raise ValueError("data: expected a digest")
            check_count("cases", data["cases"])
        if made_by is not None and not (
            isinstance(made_by, str) and made_by.isprintable() and len(made_by) <= _LONGEST_NAME
        ):
            raise ValueError("made_by: expected a short text or null")
        self.model_, self.data_, self.made_by_ = model, data, made_by


def check_held_out(value: Any) -> None:
    """Raise unless this can be what held-out folds said of a calibrator, or None.

    Parameters
    ----------
    value : dict or None
        As `Calibrator.held_out_`.
    """
    if value is None:
        return
    exactly(value, ("cases", "folds", "brier", "ece", "accuracy", "shown_to_help"), "held_out")
    check_count("cases", value["cases"])
    check_count("folds", value["folds"], least=2)
    check_flag("shown_to_help", value["shown_to_help"])
    for name, most in (("brier", 2.0), ("ece", 1.0), ("accuracy", 1.0)):
        pair = ("before", "after")
        exactly(value[name], pair if name == "accuracy" else (*pair, "change"), name)
        for when in pair:
            check_number(name, value[name][when], most=most)
        if name != "accuracy" and value[name]["change"] is not None:
            low, high = value[name]["change"]
            check_number(name, low, least=-np.inf)
            check_number(name, high, least=low)


def exactly(document: Any, keys: tuple[str, ...], what: str) -> None:
    """Raise `ValueError` unless a document is a dict of these keys and no others."""
    if not isinstance(document, dict) or set(document) != set(keys):
        raise ValueError(f"{what}: expected {', '.join(keys)}")


def kind_of(logits: NDArray[np.float64]) -> InputKind:
    """What numbers are of which nobody said it: logarithms of what sums to 1 in each row, or not.

    Examples
    --------
    >>> kind_of(np.log([[0.9, 0.1], [0.2, 0.8]])), kind_of(np.array([[2.0, 0.0]]))
    ('log-probabilities', 'logits')
    """
    if logits.max() > _ROW_SUM_TOLERANCE:
        return "logits"
    sums = np.exp(logits).sum(axis=1)
    return "log-probabilities" if np.abs(sums - 1).max() <= _ROW_SUM_TOLERANCE else "logits"


def warn_of_another_model(what: str, fitted: str | None, used: str | None) -> None:
    """Warn where something was fitted to another model's outputs; both have to be known.

    Parameters
    ----------
    what : str
        Was fitted: "calibrator" or "sets".
    fitted, used : str or None
        The fingerprints of the model that it was fitted to, and of the one that it is used on.
    """
    if fitted is not None and used is not None and fitted != used:
        # From this one line, so that commands that check twice warn once.
        warnings.warn(
            f"{what}: fitted to the outputs of another model ({_short(fitted)}) than this one "
            f"({_short(used)}), which it may make worse; fit it to held-out predictions of this "
            "model",
            stacklevel=1,
        )


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:15]}..."


def check_document(
    document: Any, form: str, versions: Mapping[int, tuple[str, ...]], optional: tuple[str, ...]
) -> None:
    """Raise unless a document is of this format and of one of its versions, with its keys.

    Parameters
    ----------
    document : object
    form : str
    versions : mapping of int to tuple of str
        The keys of each version beside "format" and "version".
    optional : tuple of str
        Those that may be missing.
    """
    if not isinstance(document, dict) or document.get("format") != form:
        raise ValueError(f"its format is not {form!r}")
    received = document.get("version")
    if isinstance(received, bool) or received not in versions or not isinstance(received, int):
        known = " and ".join(map(str, versions))
        raise ValueError(f"expected version {known}, received version {received!r:.20}")
    keys = ("format", "version", *versions[received])
    unknown = [name for name in document if name not in keys]
    if unknown:
        raise ValueError(f"unknown key {some_of([repr(name)[:40] for name in unknown])}")
    missing = [name for name in keys if name not in document and name not in optional]
    if missing:
        raise ValueError(f"no {some_of(missing)}")
