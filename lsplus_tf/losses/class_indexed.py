"""Cross-entropy against a target that is looked up by class.

Hard labels, label smoothing, LS+ and online label smoothing differ only in the row of targets
that belongs to a class, and in when that row changes. The subclasses give the rows.
"""

from __future__ import annotations

import abc

import tensorflow as tf

from lsplus_tf.losses.base import Batch, ClassificationLoss


class ClassIndexedLoss(ClassificationLoss):
    """Cross-entropy whose target is a row per class; subclasses say which row."""

    # TensorFlow's fused cross-entropy is faster, and its gradient right for such rows only.
    rows_sum_to_one = True

    @abc.abstractmethod
    def rows(self, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
        """The target rows (..., K) of integer `labels` (...)."""

    @abc.abstractmethod
    def mixed_rows(self, soft_labels: tf.Tensor) -> tf.Tensor:
        """The mixture of target rows (..., K) with the weights `soft_labels` (..., K)."""

    def constant(self, labels: tf.Tensor | None, soft_labels: tf.Tensor | None) -> tf.Tensor | None:
        """What is added to the cross-entropy and does not depend on the network; one is given."""
        del labels, soft_labels
        return None

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        if batch.given_rows is not None:
            # Rows from elsewhere need not sum to 1.
            targets, unit_rows = self.mixed_rows(batch.given_rows), False
        else:
            targets = self.rows(batch.labels, batch.num_classes)
            unit_rows = self.rows_sum_to_one
        losses = batch.cross_entropy_with(targets, unit_rows=unit_rows)
        constant = self.constant(batch.labels, batch.given_rows)
        return losses if constant is None else losses + constant
