"""CALS: margins between logits as constraints, whose multipliers the validation sets."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import (
    LEAST_MARGIN,
    MOST_MARGIN,
    check_choice,
    check_count,
    check_flag,
    check_number,
)
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import variable_of
from lsplus_tf.losses.validation_loss import Shapes, ValidationLoss

Penalty = Literal["phr", "p2", "p3"]

# The largest constraint: with it a batch's cubic penalties still have a sum in float32.
_FARTHEST = 1e11


@registered
class CALSLoss(ValidationLoss):
    """CALS, class-adaptive label smoothing by augmented Lagrangian: CE + mean_k P(h_k).

    h_k = (max_j z_j - z_k - margin) / margin is what class k's logit z_k lies below the largest by,
    beyond a margin. P makes a penalty of it, with a multiplier lambda_k and a penalty parameter
    rho_k for each class. They stay within an epoch; every validation sets them anew, so that
    classes whose logits lie too far below the largest cost more: lambda_k becomes the mean P'(h_k)
    over all validation samples, each clipped to the bounds of lambda first, and rho_k grows where
    the mean h_k does not improve. `lsplus_tf.callbacks.ValidationFeedback` sees to it in `fit`.
    Training without it warns.

    In a training loop of your own call `accumulate_validation(y_true, y_pred)` for every batch of a
    validation, and `update_from_validation()` after it.

    Parameters
    ----------
    num_classes : int
        K >= 2.
    margin : float
        Distance between logits that costs nothing, in [1e-6, 1e6]. The authors' class and commands
        have 10, their config file 20.
    penalty : {"phr", "p2", "p3"}
        P; see the notes. Their config file has "phr", their class "p2".
    normalize : bool
        Whether h is divided by the margin.
    update_every : int, optional
        After how many validations the penalty parameters may grow, >= 1 (their `rho_step`, 10 in
        their config file); None is never (their -1).
    growth : float
        What a penalty parameter grows by, >= 1 (their `gamma`).
    improvement : float
        The part of the last validation's mean h that the mean h must fall to, or else the penalty
        parameter grows; >= 0 (their `tau`).
    multiplier_min, multiplier_max : float
        Bounds of lambda, >= 0; training begins with the lower one.
    penalty_parameter_min, penalty_parameter_max : float
        Bounds of rho, >= 0; training begins with the lower one.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities, whose logarithms lie as far
        apart as the logits. One below 1.2e-38 counts as 1.2e-38.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Attributes
    ----------
    multipliers, penalty_parameters : tf.Variable, shape (K,)
        lambda and rho.
    constraints : tf.Variable, shape (K,)
        The mean h of the last validation; 0 before the first.
    validations : tf.Variable, shape ()
        How many there were.

    Raises
    ------
    InputError
        An argument out of range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    With s = lambda + rho h, "phr" is (s^2 - lambda^2) / (2 rho) where s >= 0, and otherwise
    -lambda^2 / (2 rho). "p3" is lambda (h + rho h^2) where h >= 0, and otherwise
    lambda h / (1 - rho h). "p2" is "p3" and rho^2 h^3 / 6 where h >= 0. Multipliers of 0, with
    "phr" and "p2" penalty parameters of 0 too, give cross-entropy exactly.

    "phr" and "p2" penalize from the first epoch. "p3" is off for long: from 1e-6, a multiplier
    grows by 1 + 2 rho h in an epoch. Where constraints hold the penalty is below zero, and the loss
    may be: compare epochs by another measure.
    The validation split, which often chooses the epoch and fits a temperature too, is used once
    more here, without its labels. It must not be the test split.

    `y_true` is as in `LabelSmoothingLoss`; the penalty has no part in it. Several largest logits
    share the gradient. An h above 1e11 has value and gradient of 1e11. In a validation a logit of
    -inf says nothing of its class: the means of that class are over the other samples, and without
    any its state stays. The state is saved with the model, in `.keras` and `.weights.h5`; in the
    authors' checkpoints it is missing. `EarlyStopping(restore_best_weights=True)` restores weights,
    not losses: the multipliers stay those of the last epoch.
    Source: Liu et al., CVPR 2023 (CALS-ALM), from the authors' code: in it the penalty is a mean
    over the classes, though for days in its history it was a sum.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.CALSLoss(num_classes=2, margin=1.0, from_logits=True)
    >>> round(float(loss([0], [[3.0, 0.0]])), 4)
    1.0486
    >>> loss.accumulate_validation([0, 1], [[3.0, 0.0], [2.0, 0.0]])
    >>> loss.update_from_validation()
    >>> loss.multipliers.numpy().round(6).tolist()
    [9.999999974752427e-07, 1.5000009536743164]
    """

    state_is = "multipliers"
    not_fed = f"no validation sets its multipliers, so they stay: {ValidationLoss._feed_it}"
    not_renewed = (
        "what it accumulated never became its multipliers: call loss.update_from_validation() "
        "after every validation of your own loop."
    )

    def __init__(
        self,
        num_classes: int,
        *,
        margin: float = 10.0,
        penalty: Penalty = "phr",
        normalize: bool = True,
        update_every: int | None = 10,
        growth: float = 1.2,
        improvement: float = 0.9,
        multiplier_min: float = 1e-6,
        multiplier_max: float = 1e6,
        penalty_parameter_min: float = 1.0,
        penalty_parameter_max: float = 10.0,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "cals",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.num_classes = check_count("num_classes", num_classes, least=2)
        self.margin = check_number("margin", margin, LEAST_MARGIN, MOST_MARGIN)
        self.penalty = check_choice("penalty", penalty, Penalty)
        self.normalize = check_flag("normalize", normalize)
        self.update_every = update_every
        if update_every is not None:
            check_count("update_every", update_every)
        self.growth = check_number("growth", growth, least=1.0)
        self.improvement = check_number("improvement", improvement)
        self.multiplier_min = check_number("multiplier_min", multiplier_min)
        self.multiplier_max = check_number(
            "multiplier_max", multiplier_max, least=self.multiplier_min
        )
        self.penalty_parameter_min = check_number("penalty_parameter_min", penalty_parameter_min)
        self.penalty_parameter_max = check_number(
            "penalty_parameter_max", penalty_parameter_max, least=self.penalty_parameter_min
        )

        def of_classes(value: float, name: str) -> tf.Variable:
            return variable_of(np.full(self.num_classes, value, self.dtype), name)

        self.multipliers = of_classes(self.multiplier_min, "multipliers")
        self.penalty_parameters = of_classes(self.penalty_parameter_min, "penalty_parameters")
        self.constraints = of_classes(0.0, "constraints")
        self.validations = variable_of(np.array(0, np.int64), "validations")

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        self.check_num_classes(batch.num_classes)
        return self.noticing_training(batch.cross_entropy + self._mean_penalty(batch.logits))

    def _mean_penalty(self, logits: tf.Tensor) -> tf.Tensor:
        """mean_k P(h_k), (...). Of 1000 classes TensorFlow's own gradient takes twice as long."""
        multipliers, parameters = self._coefficients(logits.dtype)
        scale = self.num_classes * (self.margin if self.normalize else 1.0)

        @tf.custom_gradient
        def mean_penalty(logits: tf.Tensor) -> tf.Tensor:
            below = tf.reduce_max(logits, axis=-1, keepdims=True) - logits
            h = self._constraints(below)
            penalties = self._penalties(h, multipliers, parameters)

            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                slopes = self._slopes(h, multipliers, parameters) * (upstream / scale)[..., None]
                largest = tf.cast(below == 0.0, slopes.dtype)
                # The largest logit is in all h; of several each has its part.
                for_all = tf.reduce_sum(slopes, axis=-1, keepdims=True)
                return largest * (for_all / tf.reduce_sum(largest, axis=-1, keepdims=True)) - slopes

            return tf.reduce_mean(penalties, axis=-1), gradient

        return mean_penalty(logits)

    def _coefficients(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(self.multipliers, dtype), tf.cast(self.penalty_parameters, dtype)

    def _constraints(self, below: tf.Tensor) -> tf.Tensor:
        """h, (..., K), of what the logits lie `below` the largest by."""
        h = below - self.margin
        return tf.minimum(h / self.margin if self.normalize else h, _FARTHEST)

    def _penalties(self, h: tf.Tensor, multipliers: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        """P(h), (..., K)."""
        if self.penalty == "phr":
            # Constant below -lambda / rho. Above, nothing is divided by rho, which may be 0.
            lowest = tf.where(parameters > 0.0, -multipliers / parameters, -np.inf)
            h = tf.maximum(h, lowest)
            return h * (multipliers + 0.5 * parameters * h)
        above, below = tf.nn.relu(h), tf.minimum(h, 0.0)
        penalties = multipliers * (
            above + parameters * above**2 + below / (1.0 - parameters * below)
        )
        if self.penalty == "p2":
            penalties += parameters**2 * above**3 / 6.0
        return penalties

    def _slopes(self, h: tf.Tensor, multipliers: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        """P'(h), (..., K)."""
        if self.penalty == "phr":
            return tf.nn.relu(multipliers + parameters * h)
        above, below = tf.nn.relu(h), tf.minimum(h, 0.0)
        slopes = multipliers * (2.0 * parameters * above + (1.0 - parameters * below) ** -2)
        if self.penalty == "p2":
            slopes += 0.5 * (parameters * above) ** 2
        return slopes

    def sums(self) -> Shapes:
        return dict.fromkeys(("slopes", "constraints", "counts"), ((self.num_classes,), tf.float64))

    def add(self, sums: dict[str, tf.Variable], batch: Batch, counted: tf.Tensor) -> None:
        self.check_num_classes(batch.num_classes)
        logits = tf.cast(batch.logits, tf.float64)
        counted = counted[..., None] & (logits > -np.inf)
        h = self._constraints(tf.reduce_max(logits, axis=-1, keepdims=True) - logits)
        slopes = self._slopes(h, *self._coefficients(h.dtype))
        slopes = tf.clip_by_value(slopes, self.multiplier_min, self.multiplier_max)
        axes = list(range(counted.shape.rank - 1))
        for name, values in (("slopes", slopes), ("constraints", h), ("counts", tf.ones_like(h))):
            values = tf.where(counted, values, 0.0)
            sums[name].assign_add(tf.reduce_sum(values, axis=axes))

    def renew(self, totals: dict[str, NDArray[Any]]) -> None:
        counts, last = totals["counts"], self.constraints.numpy()
        slopes, constraints = (
            np.divide(totals[name], counts, out=kept.astype(np.float64), where=counts > 0)
            for name, kept in (("slopes", self.multipliers.numpy()), ("constraints", last))
        )
        count = int(self.validations.numpy()) + 1
        before = np.maximum(last, 0.0)
        if self.update_every is not None and count > 1 and count % self.update_every == 0:
            parameters = self.penalty_parameters.numpy().astype(np.float64)
            grown = np.clip(
                self.growth * parameters, self.penalty_parameter_min, self.penalty_parameter_max
            )
            self.penalty_parameters.assign(
                np.where(
                    (counts > 0) & (constraints > self.improvement * before), grown, parameters
                )
            )
        multipliers = np.clip(slopes, self.multiplier_min, self.multiplier_max)
        self.multipliers.assign(multipliers.astype(self.dtype))
        self.constraints.assign(constraints.astype(self.dtype))
        self.validations.assign(count)

    def _state(self) -> dict[str, tf.Variable]:
        return {
            "multipliers": self.multipliers,
            "penalty_parameters": self.penalty_parameters,
            "constraints": self.constraints,
            "validations": self.validations,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "margin": self.margin,
            "penalty": self.penalty,
            "normalize": self.normalize,
            "update_every": self.update_every,
            "growth": self.growth,
            "improvement": self.improvement,
            "multiplier_min": self.multiplier_min,
            "multiplier_max": self.multiplier_max,
            "penalty_parameter_min": self.penalty_parameter_min,
            "penalty_parameter_max": self.penalty_parameter_max,
        }
