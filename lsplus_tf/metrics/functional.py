"""Exact metrics of classification, and :func:`evaluate` for all at once, in NumPy.

Every function takes true classes ``labels`` (N,) and softmax outputs ``probabilities`` (N, K), or
logits with ``from_logits=True`` (never guessed from their values), as NumPy arrays or anything that
becomes one; or, in place of both, one :class:`~lsplus_tf.predictions.Predictions`, which is not
checked again. It returns a Python float (a fraction, not a percentage), and raises
:class:`~lsplus_tf.errors.InputError`, which names the argument and the first bad rows, where the
probabilities are not finite, not negative and summing to 1 (within 1e-3, in 16 bits 1e-2), or the
labels are not integers in [0, K).

Where the LS+ paper's released code departs from the sound definition,
``convention="released_code"`` follows the code, so that its tables can be reproduced:

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
CE            finite at p = 0 (708.4)                 p clipped to [1e-7, 1 - 1e-7]
R-AUC         all N + 1 points, ties by expectation   200 points, ties as they come
============  ======================================  ==========================================
"""

import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import check_count
from lsplus_tf.metrics import measures
from lsplus_tf.metrics.bin_totals import PAPER_BINS
from lsplus_tf.metrics.conventions import predictions_for
from lsplus_tf.predictions import Predictions, as_predictions


def accuracy(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
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
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits)
    return measures.accuracy(predictions, convention)


def balanced_accuracy(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
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

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> balanced_accuracy([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    0.75
    """
    return measures.balanced_accuracy(
        as_predictions(labels, probabilities, from_logits=from_logits)
    )


def top_k_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    k: int,
    from_logits: bool = False,
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
    return measures.top_k_error(as_predictions(labels, probabilities, from_logits=from_logits), k)


def auroc(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
) -> float:
    """Area under the ROC curve, one class against the rest, unweighted mean over the K classes.

    Equals scikit-learn's ``roc_auc_score(one_hot, probabilities, average="macro")``. Where a
    class has no sample its curve does not exist: the result is NaN and a warning names the
    missing classes.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 1], 0.5 for chance, or NaN.

    Examples
    --------
    >>> auroc([0, 1, 0], [[0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
    1.0
    """
    return measures.auroc(as_predictions(labels, probabilities, from_logits=from_logits))


def precision(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
) -> float:
    """Macro precision: scikit-learn's, with 0 for a class that is never predicted.

    As there, the mean is over the classes that are in the labels or in the predictions.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> precision([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    0.75
    """
    return measures.precision_recall_f1(
        as_predictions(labels, probabilities, from_logits=from_logits)
    )[0]


def recall(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
) -> float:
    """Macro recall: scikit-learn's, with 0 for a predicted class without samples.

    As there, the mean is over the classes that are in the labels or in the predictions.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> recall([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    0.75
    """
    return measures.precision_recall_f1(
        as_predictions(labels, probabilities, from_logits=from_logits)
    )[1]


def f1(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, from_logits: bool = False) -> float:
    """Macro F1: the mean over classes of scikit-learn's F1, 0 where undefined.

    As there, the mean is over the classes that are in the labels or in the predictions.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> round(f1([0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]), 4)
    0.6667
    """
    return measures.precision_recall_f1(
        as_predictions(labels, probabilities, from_logits=from_logits)
    )[2]


def negative_log_likelihood(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
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

    Returns
    -------
    float
        0 or more, in nats.

    Examples
    --------
    >>> round(negative_log_likelihood([0, 1], [[0.8, 0.2], [0.5, 0.5]]), 4)
    0.4581
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits)
    return measures.nll(predictions, convention)


def mean_confidence(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
) -> float:
    """Mean of the largest probability; minus the accuracy it is the overconfidence.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [1/K, 1].

    Examples
    --------
    >>> mean_confidence([0, 1], [[0.75, 0.25], [0.5, 0.5]])
    0.625
    """
    return measures.mean_confidence(as_predictions(labels, probabilities, from_logits=from_logits))


def evaluate(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
) -> dict[str, float]:
    """All metrics of one set of predictions, as fractions.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
        True classes in [0, K).
    probabilities : array_like, shape (N, K), optional
        Softmax outputs, or logits.
    convention : {"standard", "released_code"}
        Sound definitions, or those of the LS+ paper's released code; the table at the head of this
        module says how they differ.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    dict of str to float
        accuracy, auroc, precision, recall, f1, ece, ace, sce, ce (negative log-likelihood, nats),
        brier (0 to 2), top1_error, top5_error, mean_confidence, retention_auc.

    Raises
    ------
    InputError
        If the predictions are not valid.

    Warns
    -----
    UserWarning
        If a class has no sample; auroc is then NaN.

    Examples
    --------
    >>> metrics = evaluate([0, 1], [[0.9, 0.1], [0.3, 0.7]])
    >>> metrics["accuracy"], round(metrics["ece"], 4), round(metrics["brier"], 4)
    (1.0, 0.2, 0.1)
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits)
    share_correct = measures.accuracy(predictions, convention)
    macro_precision, macro_recall, macro_f1 = measures.precision_recall_f1(predictions)
    return {
        "accuracy": share_correct,
        "auroc": measures.auroc(predictions, convention),
        "precision": macro_precision,
        "recall": macro_recall,
        "f1": macro_f1,
        "ece": measures.ece(predictions, PAPER_BINS, convention),
        "ace": measures.ace(predictions, PAPER_BINS, convention),
        "sce": measures.sce(predictions, PAPER_BINS, convention),
        "ce": measures.nll(predictions, convention),
        "brier": measures.brier(predictions),
        "top1_error": 1 - share_correct,
        "top5_error": measures.top_k_error(predictions, 5),
        "mean_confidence": measures.mean_confidence(predictions),
        "retention_auc": measures.retention_auc(predictions, convention),
    }
