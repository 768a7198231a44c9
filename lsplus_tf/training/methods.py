"""From a method's settings to its Keras loss and callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from lsplus_tf import callbacks, keras_files, losses, priors
from lsplus_tf.config import methods
from lsplus_tf.errors import InputError
from lsplus_tf.losses import released
from lsplus_tf.losses.base import LossDtype


def build_loss(
    method: methods.MethodSettings,
    class_counts: np.ndarray,
    class_accuracy: np.ndarray | None = None,
    dtype: LossDtype = "float32",
    *,
    epochs: int | None = None,
) -> keras.losses.Loss:
    """The loss of a network that gives logits.

    Parameters
    ----------
    method : MethodSettings
        Its settings.
    class_counts : ndarray, shape (K,)
        Training samples per class.
    class_accuracy : ndarray, shape (K,), optional
        In [0, 1], for the methods whose prior comes from hard-label runs.
    dtype : {"float32", "float64"}
        What is computed in.
    epochs : int, optional
        Of the whole training, for the methods whose loss changes with the epoch.

    Raises
    ------
    InputError
        Class accuracies, or the number of epochs, are needed and missing.
    """
    arguments = method.model_dump(exclude=set(method.not_of_the_loss))
    for name in method.from_data:
        match name:
            case "num_classes":
                arguments[name] = len(class_counts)
            case "class_counts":
                arguments[name] = class_counts
            case "prior":
                if class_accuracy is None:
                    raise InputError(
                        f"class_accuracy: expected (K,) for {method.title}, received None"
                    )
                # What is doubtful was told when the accuracies were measured.
                arguments[name] = priors.informed_prior(class_accuracy, warn=False)
    if isinstance(method, methods.AlsoReleased) and method.convention == "released_code":
        kind = getattr(released, f"Released{method.loss_class}")
        return kind(**{k: v for k, v in arguments.items() if k != "base"}, dtype=dtype)
    if isinstance(method, methods.OnABase):
        bases: dict[str, Any] = {
            "label_smoothing": losses.LabelSmoothingLoss(dtype=dtype),
            "focal": losses.FocalLoss(dtype=dtype),
        }
        arguments["base"] = bases.get(method.base, method.base)
    if isinstance(method, methods.MaxSup) and method.final_factor != 1:
        if epochs is None:
            raise InputError(f"epochs: expected a number for {method.title}, received None")
        # One of Keras's, which a saved model holds; a training of one epoch has the first weight.
        final = method.final_factor * method.weight
        arguments["weight"] = keras.optimizers.schedules.PolynomialDecay(
            method.weight, max(epochs - 1, 1), final, power=1.0
        )
    return getattr(losses, method.loss_class)(**arguments, from_logits=True, dtype=dtype)


def build_callback(
    method: methods.MethodSettings, teacher: Path | None
) -> keras.callbacks.Callback | None:
    """What changes the loss during training, None for most methods.

    Parameters
    ----------
    method : MethodSettings
        Its settings.
    teacher : Path, optional
        The `.keras` model of the hard-label run, for self-training.
    """
    match method:
        case methods.OnlineLabelSmoothing() | methods.LSPlusOnline():
            return callbacks.OnlineLabelSmoothing()
        case methods.ConfusionPenalty():
            return callbacks.ConfusionPenalty()
        case methods.FedLAS():
            return callbacks.FedLAS()
        case methods.LearnedLabelSmoothing():
            return callbacks.LearnedLabelSmoothing()
        case methods.CALS() | methods.AdaptiveFocal():
            return callbacks.ValidationFeedback()
        case methods.LSPlus(refresh_every=int(every), shrinkage=shrinkage):
            return callbacks.PriorRefresh(every, shrinkage=shrinkage)
        case methods.MaxSup(final_factor=factor) if factor != 1:
            return callbacks.EpochSchedule()
        case methods.TfKDSelfTraining():
            if teacher is None:
                raise InputError(
                    f"teacher: expected a .keras file for {method.title}, received None"
                )
            return callbacks.TeacherLogits(keras_files.load(teacher, str(teacher)))
    return None
