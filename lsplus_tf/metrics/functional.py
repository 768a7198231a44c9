"""Exact metrics of classification, in NumPy.

Every function takes true classes ``labels`` (N,) and softmax outputs ``probabilities`` (N, K), or
logits with ``from_logits=True`` (never guessed from their values), as NumPy arrays or anything that
becomes one; or, in place of both, one :class:`~lsplus_tf.predictions.Predictions`, which is not
checked again, and of which the predicted class and its confidence are enough where no other
probability plays a part. It returns a Python float (a fraction, not a percentage), and raises
:class:`~lsplus_tf.errors.InputError`, which names the argument and the first bad rows, where the
probabilities are not finite, not negative and summing to 1 (within 1e-3, in 16 bits 1e-2), or the
labels are not integers in [0, K).

With ``sample_weight`` (N,), or those of the `Predictions`, a metric is that of samples that are
repeated this many times; :mod:`lsplus_tf.metrics.weighted` says what weights mean that are not
whole. A sample of weight 0 is as if it were not there.

Where the LS+ paper's released code departs from the sound definition,
``convention="released_code"`` follows the code, so that its tables can be reproduced; it has no
weights:

============  ======================================  ==========================================
\\             ``"standard"``                          ``"released_code"``
============  ======================================  ==========================================
dtype         that of the probabilities               float32, subnormals flushed to zero
accuracy      of the first most probable class        a tied maximum counts as wrong
ECE, SCE      every sample is in one of the bins      probability 0 is in no bin, nor is one
              (lower, upper], 0 in the first          above 1
ACE           bins of equal mass by rank              bins between quantiles, in none of which is
                                                      the least confident sample
SCE           mean over all K classes                 mean over classes 0..max(labels)
NLL           finite at p = 0 (708.4)                 p clipped to [1e-7, 1 - 1e-7]
R-AUC         all N + 1 points, ties by expectation   200 points, ties as they come
============  ======================================  ==========================================
"""

import warnings
from typing import Literal, get_args, overload

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import InputError, check_count
from lsplus_tf.metrics import forms, measures
from lsplus_tf.metrics.areas import MeanAuroc, absent_classes, class_aurocs
from lsplus_tf.metrics.conventions import predictions_for
from lsplus_tf.metrics.intervals import Interval
from lsplus_tf.metrics.measures import ClassScore
from lsplus_tf.metrics.metric import Metric
from lsplus_tf.predictions import Predictions, as_predictions

__all__ = [
    "accuracy",
    "auroc",
    "balanced_accuracy",
    "f1",
    "mean_confidence",
    "negative_log_likelihood",
    "precision",
    "recall",
    "top_k_error",
]


def accuracy(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Share of samples whose most probable class is the true one.

    Where several classes tie for the maximum the first one is predicted; with
    ``convention="released_code"`` such a sample is wrong whatever its label.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    convention : {"standard", "released_code"}
        See the table at the head of this module.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> accuracy([0, 0], [[0.8, 0.2], [0.5, 0.5]])
    1.0
    >>> accuracy([0, 0], [[0.8, 0.2], [0.5, 0.5]], convention="released_code")
    0.5
    >>> accuracy([0, 1], [[0.8, 0.2], [0.7, 0.3]], sample_weight=[3, 1])
    0.75
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    return measures.accuracy(predictions, convention)


def balanced_accuracy(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean over classes of the share of a class's samples that are predicted as such.

    Equals scikit-learn's ``balanced_accuracy_score``: a class without samples is left out, unlike
    in :func:`recall`, where it counts 0 if it is predicted.

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
        In [0, 1].

    Examples
    --------
    >>> balanced_accuracy([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    0.75
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    return measures.mean_over_classes(predictions, measures.own_recall)


def top_k_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    k: int,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Share of samples whose true class is not among the k most probable ones.

    Of equally probable classes those with the lower index come first, so that k = 1 is the
    complement of :func:`accuracy`. For k >= K the error is 0.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    k : int
        At least 1.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> top_k_error([1, 2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], k=2)
    0.5
    """
    check_count("k", k)
    return measures.top_k_error(
        as_predictions(labels, probabilities, from_logits=from_logits, sample_weight=sample_weight),
        k,
    )


Average = Literal["macro", "present"]


@overload
def auroc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    average: Average = "macro",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float: ...


@overload
def auroc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    average: None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]: ...


def auroc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    average: Average | None = "macro",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float | npt.NDArray[np.float64]:
    """Area under the ROC curve, one class against the rest, unweighted mean over the K classes.

    Equals scikit-learn's ``roc_auc_score(one_hot, probabilities, average="macro")``. Where a
    class has no sample, or all samples, its curve does not exist: the result is NaN and a warning
    names such classes. :func:`~lsplus_tf.metrics.delong_interval` has its interval.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    average : {"macro", "present", None}
        "present" is the mean over the classes whose curve exists, and no more to be compared with
        that over all; None gives each class's area.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float or ndarray of float64, shape (K,)
        In [0, 1], 0.5 for chance, or NaN.

    Examples
    --------
    >>> auroc([0, 1, 0], [[0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
    1.0
    >>> p = [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.6, 0.2, 0.2]]
    >>> auroc([0, 1, 0], p, average="present")
    1.0
    """
    if average is not None and average not in get_args(Average):
        raise InputError(f"average: expected 'macro', 'present' or None, received {average!r}")
    given = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    given.need("probabilities")
    if average == "macro":
        return measures.auroc(given)
    areas = class_aurocs(given)
    known = areas[~np.isnan(areas)]
    if known.size < areas.size and (average is None or not known.size):
        warnings.warn(f"auroc is NaN: no sample of class {absent_classes(given)}", stacklevel=2)
    if average is None:
        return areas
    return float(known.mean()) if known.size else float("nan")


def precision(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Macro precision: scikit-learn's, with 0 for a class that is never predicted.

    As there, the mean is over the classes that are in the labels or in the predictions.

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
        In [0, 1].

    Examples
    --------
    >>> precision([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    0.75
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    return measures.mean_over_classes(predictions, measures.precision)


def recall(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Macro recall: scikit-learn's, with 0 for a predicted class without samples.

    As there, the mean is over the classes that are in the labels or in the predictions.

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
        In [0, 1].

    Examples
    --------
    >>> recall([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    0.75
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    return measures.mean_over_classes(predictions, measures.recall)


def f1(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Macro F1: the mean over classes of scikit-learn's F1, 0 where undefined.

    As there, the mean is over the classes that are in the labels or in the predictions.

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
        In [0, 1].

    Examples
    --------
    >>> round(f1([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]), 4)
    0.6667
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    return measures.mean_over_classes(predictions, measures.f1)


def negative_log_likelihood(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean of -log p(true class), the cross-entropy in nats.

    A probability of 0 counts as the smallest normal float64, 2.2e-308, which keeps the mean finite:
    that sample contributes 708.4. With ``convention="released_code"`` p is clipped to
    [1e-7, 1 - 1e-7] in float32, as Keras does, so that a sample contributes at most 16.1.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    convention : {"standard", "released_code"}
        See the table at the head of this module.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        0 or more, in nats.

    Examples
    --------
    >>> round(negative_log_likelihood([0, 1], [[0.8, 0.2], [0.5, 0.5]]), 4)
    0.4581
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    return measures.nll(predictions, convention)


def mean_confidence(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean of the largest probability; minus the accuracy it is the overconfidence.

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
        In [1/K, 1].

    Examples
    --------
    >>> mean_confidence([0, 1], [[0.75, 0.25], [0.5, 0.5]])
    0.625
    """
    return measures.mean_confidence(
        as_predictions(labels, probabilities, from_logits=from_logits, sample_weight=sample_weight)
    )


def _auroc_interval(
    predictions: Predictions, groups: npt.NDArray[np.intp] | None, confidence_level: float
) -> Interval:
    found = MeanAuroc.of(predictions, groups).interval(confidence_level)
    if np.isnan(found.value):
        warnings.warn(
            f"auroc is NaN: no sample of class {absent_classes(predictions)}",
            stacklevel=5,
        )
    return found


def _macro(
    key: str, score: ClassScore, definition: str, *, name: str = "", evaluated: bool = True
) -> Metric:
    return Metric(
        key=key,
        function=key,
        name=name or key.capitalize(),
        definition=definition,
        better=1,
        value=lambda predictions, _: measures.mean_over_classes(predictions, score),
        form=forms.mean_over_classes(score),
        evaluated=evaluated,
    )


def _top_k_error(k: int, in_words: str, *, evaluated: bool = True) -> Metric:
    return Metric(
        key=f"top{k}_error",
        function="top_k_error",
        name=f"Top-{k} error",
        definition=(
            f"share of the cases whose true class is not among the {in_words} most probable"
        ),
        better=-1,
        value=lambda predictions, _: measures.top_k_error(predictions, k),
        form=forms.mean_of_blocks(lambda predictions: measures.top_k_misses(predictions, k)),
        interval="agresti_coull",
        evaluated=evaluated,
        needs="all",
        fewest_classes=k + 1,
    )


RECORDS = (
    Metric(
        key="accuracy",
        function="accuracy",
        name="Accuracy",
        definition="share of the cases whose most probable class is the true one",
        short="ACC",
        better=1,
        value=measures.accuracy,
        form=lambda predictions: forms.mean_of(predictions.correct, predictions.sample_weight),
        interval="agresti_coull",
    ),
    Metric(
        key="auroc",
        function="auroc",
        name="AUROC",
        definition=(
            "area under the ROC curve: how often a case of a class has a higher probability of it "
            "than a case of another class, ties counted half; 50% is chance. Without a class it "
            "is the mean over the classes, each against the rest"
        ),
        better=1,
        value=measures.auroc,
        form=forms.auroc,
        ranks=True,
        interval="linearised",
        needs="all",
        analytic=_auroc_interval,
    ),
    _macro(
        "precision",
        measures.precision,
        "share of the cases predicted as a class that are of it, mean over the classes "
        "(macro); 0 for a class that is never predicted",
    ),
    _macro(
        "recall",
        measures.recall,
        "share of a class's cases that are predicted as it, mean over the classes (macro)",
    ),
    _macro(
        "f1",
        measures.f1,
        "2 TP / (2 TP + FP + FN), the harmonic mean of PPV and sensitivity; without a class "
        "the mean over the classes (macro)",
    ),
    _macro(
        "balanced_accuracy",
        measures.own_recall,
        "mean over the classes of the share of their cases that is found",
        name="Balanced accuracy",
        evaluated=False,
    ),
    Metric(
        key="nll",
        function="negative_log_likelihood",
        name="Negative log-likelihood",
        definition="mean of -log of the true class's probability, in nats; 0 is best",
        short="NLL",
        better=-1,
        bounds=(0.0, float("inf")),
        value=measures.nll,
        form=forms.mean_of_blocks(measures.log_losses),
        unit="nats",
        needs="all",
    ),
    Metric(
        key="top1_error",
        function="top_k_error",
        name="Top-1 error",
        definition="share of the cases whose most probable class is not the true one",
        better=-1,
        value=lambda predictions, convention: 1 - measures.accuracy(predictions, convention),
        form=lambda predictions: forms.mean_of(~predictions.correct, predictions.sample_weight),
        interval="agresti_coull",
    ),
    _top_k_error(2, "two", evaluated=False),
    _top_k_error(5, "five"),
    Metric(
        key="mean_confidence",
        function="mean_confidence",
        name="Mean confidence",
        definition="mean probability of the predicted class",
        short="Confidence",
        better=0,
        value=lambda predictions, _: measures.mean_confidence(predictions),
        form=lambda predictions: forms.mean_of(predictions.confidence, predictions.sample_weight),
    ),
)
