"""The steps of an epoch: which of them an execution of `fit` does, and how long they take."""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_REMEMBERED = 100_000  # executions of which the median is taken


class Executions:
    """The train function of a model, that does the steps of an epoch and no others.

    With several steps in an execution Keras goes on into the next epoch where they do not divide
    the steps of an epoch, and it has no way to begin within one.

    Parameters
    ----------
    model : keras.Model
        Compiled, with the train function that is to be called.
    steps : int
        In an epoch.
    """

    def __init__(self, model: keras.Model, steps: int) -> None:
        self._model, self._steps = model, steps
        self._at_once = model.steps_per_execution
        self._functions: dict[int, Callable[[Any], Any]] = {self._at_once: model.train_function}
        self._first = self._position = 0

    def begin_epoch(self, first: int = 0) -> None:
        """The epoch's steps before `first` are passed over, without batches."""
        self._first, self._position = first, 0

    def __call__(self, iterator: Any) -> Any:
        begin = max(self._position, self._first)
        self._position += self._at_once
        count = min(self._position, self._steps) - begin
        if count <= 0:
            return {}
        model = self._model
        model.steps_per_execution = count  # which Keras reads when it traces
        try:
            if count not in self._functions:
                model.make_train_function(force=True)
                self._functions[count] = model.train_function
                model.train_function = self
            return self._functions[count](iterator)
        finally:
            model.steps_per_execution = self._at_once


class Speed(keras.callbacks.Callback):
    """Times the steps that this process does of a training.

    Comes before the other callbacks, whose time is not the steps'. Keras has waited for the loss of
    an execution when it calls the callbacks, so that nothing waits on its account.

    Parameters
    ----------
    samples : int
        In an epoch.
    batch_size : int
        Samples in a step, but for the last of an epoch.
    """

    def __init__(self, samples: int, batch_size: int) -> None:
        super().__init__()
        self._samples, self._batch_size = samples, batch_size
        self._first_step: float | None = None
        self._step_times: deque[float] = deque(maxlen=_REMEMBERED)
        self._images, self._seconds = 0, 0.0
        self._begin_step, self._begun = 0, 0.0  # of the execution that is going on
        for gpu in _gpus():
            tf.config.experimental.reset_memory_stats(gpu)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._begin_step, self._begun = batch, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not logs:  # passed over
            return
        seconds = time.perf_counter() - self._begun
        if self._first_step is None:
            self._first_step = seconds
            return
        begin, end = self._begin_step, min(batch + 1, self.params["steps"])
        self._step_times.append(seconds / (end - begin))
        self._images += min(end * self._batch_size, self._samples) - begin * self._batch_size
        self._seconds += seconds

    def record(self) -> dict[str, Any]:
        """What was measured; None where there was no step, or one alone, to measure.

        Returns
        -------
        dict
            `images_per_second` over all steps but the first execution, `step_seconds`, their
            median, `first_step_seconds`, the first execution with its compilation,
            `peak_process_bytes`, the most memory that the process has ever had, and
            `peak_gpu_bytes`, the most that this training had on each GPU.
        """
        times = self._step_times
        return {
            "images_per_second": round(self._images / self._seconds, 1) if times else None,
            "step_seconds": round(statistics.median(times), 6) if times else None,
            "first_step_seconds": None if self._first_step is None else round(self._first_step, 3),
            "peak_process_bytes": peak_process_bytes(),
            "peak_gpu_bytes": [
                tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in _gpus()
            ],
        }


class StopsAtNaN(keras.callbacks.Callback):
    """Ends a training whose loss is not finite; Keras's own prints a line in the middle of ours."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not np.isfinite((logs or {}).get("loss", 0.0)):  # no loss of steps that are passed over
            self.model.stop_training = True


def peak_process_bytes() -> int | None:
    """The most memory that the process has had; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _gpus() -> list[str]:
    """The GPUs of this host: among several hosts, a device's name begins with its host's."""
    names = (device.name for device in tf.config.list_logical_devices("GPU"))
    return list(dict.fromkeys(name.rpartition("device:")[2] for name in names))
