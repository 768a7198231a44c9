"""How well confidence ranks right predictions before wrong ones: retention, risk and coverage.

Every function takes softmax outputs ``probabilities`` (N, K) and true classes ``labels`` (N,) as
NumPy arrays or anything that becomes one, ranks the samples by the largest probability, and raises
:class:`~lsplus_tf.errors.InputError` for anything that is not that.
"""

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import _measures
from lsplus_tf.metrics._predictions import Convention, check_predictions

Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def retention_curve(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    fractions: npt.ArrayLike | None = None,
    convention: Convention = "standard",
) -> Curve:
    """Accuracy when the model decides the cases it is sure of and an expert decides the others.

    At fraction f the int(N f) most confident samples keep the model's prediction and the others
    get the ground truth. The curve starts at 1 and ends at the model's accuracy.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    fractions : array_like, shape (M,), optional
        Fractions in [0, 1] at which to evaluate the curve. Default: i/N for i = 0..N, every point
        that there is; with ``convention="paper"`` the paper's log(i)/log(200) for i = 1..200.
    convention : {"standard", "paper"}
        Samples of equal confidence count by expectation over their orders ("standard"), or in the
        order in which they come, in float32 ("paper": NumPy's unstable sort, used there, leaves
        their order to the machine). Both rank by confidence; the published curves do not.

    Returns
    -------
    fractions, accuracy : ndarray of float64, shape (M,)
        Accuracy in [0, 1].

    Raises
    ------
    InputError
        If the predictions are not valid or a fraction lies outside [0, 1].

    References
    ----------
    Malinin et al., "Shifts 2.0", NeurIPS 2022; LS+ paper, Fig. 1.

    Examples
    --------
    >>> fractions, accuracy = retention_curve([[0.9, 0.1], [0.4, 0.6]], [0, 0])
    >>> fractions.tolist(), accuracy.tolist()
    ([0.0, 0.5, 1.0], [1.0, 1.0, 0.5])
    """
    predictions = check_predictions(probabilities, labels, convention)
    if fractions is None:
        return _measures.retention(predictions)
    chosen = np.asarray(fractions, dtype=np.float64)
    if chosen.ndim != 1 or chosen.size == 0:
        raise InputError(f"fractions: expected shape (M,), received {chosen.shape}")
    bad = ~((chosen >= 0) & (chosen <= 1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"fractions: expected numbers in [0, 1], received {chosen[row]} at position {row}"
        )
    return _measures.retention(predictions, chosen)


def retention_auc(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, convention: Convention = "standard"
) -> float:
    """Area under the retention curve at its default fractions, by the trapezoid rule.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    convention : {"standard", "paper"}
        See :func:`retention_curve`.

    Returns
    -------
    float
        In [0, 1]; higher is better. A model that is always right has 1.

    Raises
    ------
    InputError
        If the predictions are not valid.

    Examples
    --------
    >>> retention_auc([[0.9, 0.1], [0.4, 0.6]], [0, 0])
    0.875
    """
    return _measures.retention_auc(check_predictions(probabilities, labels, convention))


def risk_coverage_curve(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Curve:
    """Error rate among the samples that a model answers when it abstains on the least confident.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)

    Returns
    -------
    coverage, risk : ndarray of float64, shape (N,)
        Coverage i/N and the risk in [0, 1] of the i most confident samples, i = 1..N. Samples of
        equal confidence count by expectation over their orders.

    Raises
    ------
    InputError
        If the predictions are not valid.

    References
    ----------
    El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR 2010.

    Examples
    --------
    >>> coverage, risk = risk_coverage_curve([[0.9, 0.1], [0.4, 0.6]], [0, 0])
    >>> coverage.tolist(), risk.tolist()
    ([0.5, 1.0], [0.0, 0.5])
    """
    predictions = check_predictions(probabilities, labels)
    answered = np.arange(1, predictions.labels.size + 1)
    risk = 1 - predictions.cumulative_correct[1:] / answered
    return answered / predictions.labels.size, risk


def aurc(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean of its N risks.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)

    Returns
    -------
    float
        In [0, 1]; lower is better. A model that is always right has 0.

    Raises
    ------
    InputError
        If the predictions are not valid.

    References
    ----------
    Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation", ICLR 2019.

    Examples
    --------
    >>> aurc([[0.9, 0.1], [0.4, 0.6]], [0, 0])
    0.25
    """
    return float(risk_coverage_curve(probabilities, labels)[1].mean())
