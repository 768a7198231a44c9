"""The callback that gives `TfKDSelfTrainingLoss` its teacher."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from lsplus_tf.callbacks.loss_callback import described, losses_of, trace_anew
from lsplus_tf.errors import InputError, check_flag
from lsplus_tf.losses.base import Batch, at_least_float32, refuse
from lsplus_tf.losses.distillation import TfKDSelfTrainingLoss, with_teacher_logits


class TeacherLogits(keras.callbacks.Callback):
    """Put a teacher's logits beside the labels of every step of `fit`, validation included.

    The teacher sees the step's own inputs, augmented as they are by the data set (layers that
    augment within the model act on the model alone), with training=False. Metrics see the labels
    as they were given. The teacher is not changed, and not saved with the model.

    Parameters
    ----------
    teacher : keras.Layer
        A built Keras model or layer with one output (B, K), the classes of the model.
    teacher_from_logits : bool
        Whether that output holds logits; otherwise probabilities. Where a softmax layer made the
        probabilities, its logits are used either way.

    Raises
    ------
    InputError
        An invalid teacher. When training begins, if the model was not compiled with one
        `TfKDSelfTrainingLoss`, if the teacher's outputs are of another shape than the model's, if
        the two share weights, or if something else has replaced the model's `compute_loss`.

    Notes
    -----
    Serves `evaluate` too: `model.evaluate(x, y, callbacks=[TeacherLogits(teacher)])`. Under a
    `tf.distribute` strategy Keras tries the loss before any callback is called: there put the
    logits into the data with `lsplus_tf.losses.with_teacher_logits`.
    Source: Yuan et al., CVPR 2020.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> teacher = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> student = keras.models.clone_model(teacher)
    >>> student.compile("sgd", lsp.losses.TfKDSelfTrainingLoss(from_logits=True))
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> teaching = lsp.callbacks.TeacherLogits(teacher)
    >>> history = student.fit(x, y, callbacks=[teaching], epochs=3, verbose=0)
    >>> len(history.history["loss"])
    3
    """

    def __init__(self, teacher: keras.Layer, *, teacher_from_logits: bool = True) -> None:
        super().__init__()
        if not isinstance(teacher, keras.Layer) or not teacher.built:
            raise InputError(f"teacher: expected a built Keras model, received {teacher!r}")
        self.teacher = teacher
        self.teacher_from_logits = check_flag("teacher_from_logits", teacher_from_logits)
        self._only_tests = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._wrap()
        trace_anew(self.model)  # steps that were traced before know no teacher

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._unwrap()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._only_tests = getattr(self.model.compute_loss, "callback", None) is not self
        if self._only_tests:  # not the validation of a `fit`
            self._wrap()
            self.model.make_test_function(force=True)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._only_tests:
            self._unwrap()

    def logits(self, x: Any) -> tf.Tensor:
        """The teacher's logits (B, K) for inputs `x`, float64 if they are, otherwise float32."""
        outputs = self.teacher(x, training=False)
        if not tf.is_tensor(outputs):
            raise InputError("teacher: expected one output, received several")
        of_softmax = getattr(outputs, "_keras_logits", None)
        values = at_least_float32(outputs if of_softmax is None else of_softmax)
        if of_softmax is not None or self.teacher_from_logits:
            return values
        refuse(
            tf.reduce_all((values >= 0.0) & (values <= 1.001), axis=-1),
            "teacher: expected probabilities; of logits say teacher_from_logits=True",
            values,
        )
        return Batch(None, None, values, False, None).log_probabilities

    def _wrap(self) -> None:
        model, loss = self.model, self.model.loss
        if not any(isinstance(part, TfKDSelfTrainingLoss) for part in losses_of(model)):
            raise InputError(
                "TeacherLogits: expected a model compiled with one TfKDSelfTrainingLoss, "
                f"received {described(loss)}"
            )
        taught, teacher = (getattr(x, "output_shape", None) for x in (model, self.teacher))
        if isinstance(taught, (list, dict)) and len(taught) == 1:
            (taught,) = taught.values() if isinstance(taught, dict) else taught
        if taught is not None and teacher is not None:
            _check_shape(teacher, taught)
        if {id(v) for v in self.teacher.variables} & {id(v) for v in model.trainable_variables}:
            raise InputError(
                "teacher: expected a model of its own, received one that shares weights with the "
                "model in training; keras.models.clone_model and set_weights make a copy"
            )
        other: Any = getattr(model.compute_loss, "callback", self)
        # The callbacks of a `fit` share one dict of params.
        if other is not self and other.params is self.params:
            raise InputError("callbacks: expected one TeacherLogits, received two")
        _remove(model)  # what a training left that ended in an exception
        if "compute_loss" in vars(model):
            raise InputError(
                "TeacherLogits: expected the model's own compute_loss, which another callback has "
                "replaced; train without it, or, if its training was broken off, "
                "`del model.compute_loss`"
            )
        inner = model.compute_loss

        @functools.wraps(inner)
        def compute_loss(
            x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **rest: Any
        ) -> Any:
            # After an exception the wrapper stays: it must not touch the labels of another loss.
            if model.loss is loss:
                logits, outputs = self.logits(x), keras.tree.flatten(y_pred)
                shapes = [output.shape for output in outputs]
                _check_shape(logits.shape, shapes[0] if len(shapes) == 1 else shapes)
                y = keras.tree.map_structure(lambda one: with_teacher_logits(one, logits), y)
            return inner(x, y, y_pred, sample_weight, **rest)

        # Only `compute_loss` sees a step's inputs before the loss sees its labels, and the metrics
        # get the labels past it.
        compute_loss.callback = self  # type: ignore[attr-defined]
        model.compute_loss = compute_loss

    def _unwrap(self) -> None:
        _remove(self.model)
        trace_anew(self.model)


def _remove(model: keras.Model) -> None:
    if isinstance(getattr(model.compute_loss, "callback", None), TeacherLogits):
        del model.compute_loss  # the instance's attribute; the class's method shows again


def _check_shape(teacher: Any, model: Any) -> None:
    """Raise `InputError` unless both are the shape of one output with the same classes."""
    try:
        fit = tf.TensorShape(teacher)[1:].is_compatible_with(tf.TensorShape(model)[1:])
    except (TypeError, ValueError):  # of several outputs
        fit = False
    if not fit:
        raise InputError(
            f"teacher: expected outputs of shape {model}, as the model's, received {teacher}"
        )
