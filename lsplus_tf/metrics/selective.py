"""How well confidence ranks right predictions before wrong ones: retention, risk and coverage.

Every function takes true classes ``labels`` (N,) and softmax outputs ``probabilities`` (N, K), or
logits with ``from_logits=True``, as NumPy arrays or anything that becomes one, or in place of both
one :class:`~lsplus_tf.predictions.Predictions`; ranks the samples by the largest probability; and
raises :class:`~lsplus_tf.errors.InputError` for anything that is not that.
"""

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import InputError, check_fraction
from lsplus_tf.metrics import forms, measures, weighted
from lsplus_tf.metrics.conventions import predictions_for
from lsplus_tf.metrics.metric import Metric
from lsplus_tf.predictions import Predictions, as_predictions

__all__ = [
    "augrc",
    "aurc",
    "coverage_at_risk",
    "excess_aurc",
    "retention_auc",
    "retention_curve",
    "risk_at_coverage",
    "risk_coverage_curve",
]

Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def retention_curve(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    fractions: npt.ArrayLike | None = None,
    convention: Convention = "standard",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> Curve:
    """Accuracy when the model decides the cases it is sure of and an expert decides the others.

    At fraction f the int(N f) most confident samples keep the model's prediction and the others
    get the ground truth. The curve starts at 1 and ends at the model's accuracy.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    fractions : array_like, shape (M,), optional
        Fractions in [0, 1] at which to evaluate the curve. Default: i/N for i = 0..N, every point
        that there is; with ``convention="released_code"`` the paper's log(i)/log(200) for
        i = 1..200.
    convention : {"standard", "released_code"}
        Samples of equal confidence count by expectation over their orders ("standard"), or in the
        order in which they come, in float32 ("released_code": NumPy's unstable sort, used
        there, leaves their order to the machine). Both rank by confidence; the published curves do
        not.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Whole numbers sum to N; others are scaled to a sum of N, the
        number of samples above 0, see :mod:`lsplus_tf.metrics.weighted`.
        Between whole samples the number of errors grows in a straight line.

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
    Malinin et al., "Shifts 2.0", arXiv 2206.15407, 2022; LS+ paper, Fig. 1.

    Examples
    --------
    >>> fractions, accuracy = retention_curve([0, 0], [[0.9, 0.1], [0.4, 0.6]])
    >>> fractions.tolist(), accuracy.tolist()
    ([0.0, 0.5, 1.0], [1.0, 1.0, 0.5])
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    if fractions is None:
        return measures.retention(predictions, convention=convention)
    chosen = np.asarray(fractions, dtype=np.float64)
    if chosen.ndim != 1 or chosen.size == 0:
        raise InputError(f"fractions: expected shape (M,), received {chosen.shape}")
    bad = ~((chosen >= 0) & (chosen <= 1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"fractions: expected numbers in [0, 1], received {chosen[row]} at position {row}"
        )
    return measures.retention(predictions, chosen, convention)


def retention_auc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Area under the retention curve at its default fractions, by the trapezoid rule.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    convention : {"standard", "released_code"}
        See :func:`retention_curve`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

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
    >>> retention_auc([0, 0], [[0.9, 0.1], [0.4, 0.6]])
    0.875
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    return measures.retention_auc(predictions, convention)


def risk_coverage_curve(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> Curve:
    """Error rate among the samples that a model answers when it abstains on the least confident.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Whole numbers sum to N; others are scaled to a sum of N, the
        number of samples above 0, see :mod:`lsplus_tf.metrics.weighted`.
        Between whole samples the number of errors grows in a straight line.

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
    >>> coverage, risk = risk_coverage_curve([0, 0], [[0.9, 0.1], [0.4, 0.6]])
    >>> coverage.tolist(), risk.tolist()
    ([0.5, 1.0], [0.0, 0.5])
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    risk = measures.selective_risk(predictions)
    return np.arange(1, risk.size + 1) / risk.size, risk


def aurc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Area under the risk-coverage curve: the mean of its N risks.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts, as in :func:`risk_coverage_curve`.

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
    >>> aurc([0, 0], [[0.9, 0.1], [0.4, 0.6]])
    0.25
    """
    return measures.aurc(
        as_predictions(labels, probabilities, from_logits=from_logits, sample_weight=sample_weight)
    )


def excess_aurc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """E-AURC: the AURC less that of the best order of the same predictions.

    The best order has every error after every hit. Its AURC is computed exactly for the N samples;
    Geifman et al. approximate it by r + (1 - r) log(1 - r) for the error rate r.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts, as in :func:`risk_coverage_curve`.

    Returns
    -------
    float
        In [0, 1]; 0 where confidence ranks all hits before all errors.

    Raises
    ------
    InputError
        If the predictions are not valid.

    References
    ----------
    Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation", ICLR 2019.

    Examples
    --------
    >>> excess_aurc([0, 0], [[0.9, 0.1], [0.4, 0.6]])
    0.0
    >>> excess_aurc([1, 1], [[0.9, 0.1], [0.4, 0.6]])
    0.5
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    if predictions.sample_weight is not None:
        of = weighted.by_confidence(predictions)
        return max(0.0, weighted.mean_risk(of) - weighted.least_mean_risk(of))
    answered = np.arange(1, predictions.labels.size + 1)
    hits = np.count_nonzero(predictions.correct)
    best = (answered - hits).clip(0) / answered
    # Rounding may leave -1e-17 of a zero.
    return max(0.0, float(np.mean(measures.selective_risk(predictions) - best)))


def augrc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Area under the generalised risk-coverage curve: the mean risk of undetected failures.

    The generalised risk at a coverage is the share of all N samples that are answered and wrong.
    Unlike the AURC it gives the errors at small coverage no extra weight. The area is that of the
    trapezoid rule from coverage 0 on, equal confidences by expectation. Samples that the
    retention curve hands to an expert are never wrong, so that this is 1 -
    :func:`retention_auc` in its standard convention.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1/2]; lower is better. A model that is always right has 0.

    Raises
    ------
    InputError
        If the predictions are not valid.

    References
    ----------
    Traub et al., "Overcoming common flaws in the evaluation of selective classification systems",
    NeurIPS 2024.

    Examples
    --------
    >>> augrc([0, 0], [[0.9, 0.1], [0.4, 0.6]])
    0.125
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    if predictions.sample_weight is not None:
        return weighted.error_area(weighted.by_confidence(predictions))
    samples = predictions.labels.size
    errors = np.arange(samples + 1) - predictions.cumulative_correct
    return float(np.trapezoid(errors) / samples**2)


def risk_at_coverage(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    coverage: float,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Error rate when the model answers at least this share of the samples, the most confident.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    coverage : float
        In [0, 1]. ceil(N coverage) samples are answered, at least one.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts, as in :func:`risk_coverage_curve`.

    Returns
    -------
    float
        In [0, 1], a point of :func:`risk_coverage_curve`.

    Raises
    ------
    InputError
        If the predictions are not valid or the coverage lies outside [0, 1].

    Examples
    --------
    >>> P, y = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], [0, 0, 1, 0]
    >>> [risk_at_coverage(y, P, coverage=c) for c in (0.5, 0.75, 1)]
    [0.0, 0.33333333333333337, 0.25]
    """
    check_fraction("coverage", coverage)
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    risk = measures.selective_risk(predictions)
    # N * (i / N) can exceed i by an ulp, which would answer one sample too many.
    wanted = risk.size * coverage * (1 - 2 * np.finfo(np.float64).eps)
    answered = max(1, int(np.ceil(wanted)))
    return float(risk[answered - 1])


def coverage_at_risk(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    risk: float,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Largest share of samples, the most confident, that is answered at no more than this risk.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    risk : float
        Error rate that is accepted, in [0, 1].
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts, as in :func:`risk_coverage_curve`.

    Returns
    -------
    float
        In [0, 1], the last coverage of :func:`risk_coverage_curve` whose risk is not above
        ``risk``; 0 if there is none.

    Raises
    ------
    InputError
        If the predictions are not valid or the risk lies outside [0, 1].

    Examples
    --------
    >>> P, y = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], [0, 0, 1, 0]
    >>> [coverage_at_risk(y, P, risk=r) for r in (0.1, 0.25)]
    [0.5, 1.0]
    """
    check_fraction("risk", risk)
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    # 1 - 0.9 is a little above 0.1.
    found = measures.selective_risk(predictions)
    accepted = np.flatnonzero(found <= risk + 1e-12)
    return float(accepted[-1] + 1) / found.size if accepted.size else 0.0


RECORDS = (
    Metric(
        key="retention_auc",
        function="retention_auc",
        name="R-AUC",
        definition=(
            "area under the retention curve: accuracy of model and expert together where the "
            "model decides the most confident cases and an expert, always right, the others, over "
            "all shares"
        ),
        better=1,
        value=measures.retention_auc,
        form=forms.by_confidence(forms.retention_area),
        ranks=True,
    ),
    Metric(
        key="aurc",
        function="aurc",
        name="AURC",
        definition=(
            "area under the risk-coverage curve: mean error rate among the most confident cases, "
            "over all shares"
        ),
        better=-1,
        value=lambda predictions, _: measures.aurc(predictions),
        form=forms.by_confidence(forms.mean_risk),
        ranks=True,
        evaluated=False,
    ),
)
