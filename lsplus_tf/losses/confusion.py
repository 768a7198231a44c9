"""Confusion-penalty label smoothing: what a class is mistaken for takes its smoothing mass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import Scheduled, number_config
from lsplus_tf.losses.target_matrix import TargetMatrixLoss
from lsplus_tf.priors import uniform_prior


@registered
class ConfusionPenaltyLoss(TargetMatrixLoss):
    """Confusion-penalty label smoothing (CPLS): (1 - alpha) CE(y, p) + alpha CE(c_y, p).

    c_k is row k of the validation set's confusion matrix without its diagonal, divided by its sum:
    the smoothing mass goes to the classes that class k was mistaken for, in proportion. Where the
    row has no errors, and before the first validation, the other classes share it evenly.
    `lsplus_tf.callbacks.ConfusionPenalty` gives the confusion matrix after every epoch of `fit`.
    Training without the callback warns, since c then stays as it is.

    In a training loop of your own set `is_fed = True`, and call `update_from_confusion(confusion)`
    after every validation.

    Parameters
    ----------
    num_classes : int
        K >= 2.
    alpha : float or callable
        Smoothing weight in [0, 1]; 0 gives cross-entropy. Or a function of the epoch, as in
        `LabelSmoothingLoss`; the callback tells the loss the epoch.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Attributes
    ----------
    soft_labels : tf.Variable, shape (K, K)
        The rows c_k, with 0 on the diagonal.

    Raises
    ------
    InputError
        As in `LabelSmoothingLoss`; fewer than two classes.

    Notes
    -----
    The rows are saved with the model. A soft label (B, K) takes the matching mixture of rows.
    Source: Kuiry et al., arXiv 2403.10881. Neither their code nor their formula was available:
    this is an interpretation of the method as they describe it in words.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.ConfusionPenaltyLoss(num_classes=3, from_logits=True)
    >>> loss.update_from_confusion([[7, 3, 0], [1, 6, 3], [0, 0, 5]])
    >>> loss.soft_labels.numpy().tolist()
    [[0.0, 1.0, 0.0], [0.25, 0.0, 0.75], [0.5, 0.5, 0.0]]
    """

    not_fed = (
        "nothing gives it a confusion matrix, so its soft labels stay as they are: give fit "
        "validation_data and callbacks=[lsplus_tf.callbacks.ConfusionPenalty()], or in your own "
        "loop set loss.is_fed = True and call loss.update_from_confusion(confusion)."
    )

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: Scheduled = 0.1,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "confusion_penalty",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        evenly = _shares_of_errors(np.zeros_like(uniform_prior(num_classes)))
        super().__init__(
            evenly, alpha, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def update_from_confusion(self, confusion: ArrayLike) -> None:
        """Make the errors of a confusion matrix the new soft labels.

        Parameters
        ----------
        confusion : array_like, shape (K, K)
            Counts >= 0, rows = true classes, columns = predictions.

        Raises
        ------
        InputError
            Another shape, NaN, or negative counts.
        """
        try:
            counts = np.array(confusion, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"confusion: expected counts, received {confusion!r}") from error
        shape = (self.num_classes, self.num_classes)
        if counts.shape != shape:
            raise InputError(f"confusion: expected shape {shape}, received shape {counts.shape}")
        wrong = ~(np.isfinite(counts) & (counts >= 0))
        if wrong.any():
            k, j = np.argwhere(wrong)[0]
            raise InputError(
                f"confusion: expected finite counts >= 0, received {counts[k, j]} at [{k}, {j}]"
            )
        self.soft_labels.assign(_shares_of_errors(counts).astype(self.dtype))
        self.is_fed = self._feeding.renewed = True

    def _state(self) -> dict[str, Any]:
        return {"shares_of_errors": self.soft_labels}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "alpha": number_config(self.alpha),
        }


def _shares_of_errors(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """What part of each class's errors went to which class, (K, K); evenly where there are none."""
    others = 1.0 - np.eye(len(counts))
    errors = counts * others
    errors = np.where(errors.any(axis=1, keepdims=True), errors, others)
    return errors / errors.sum(axis=1, keepdims=True)
