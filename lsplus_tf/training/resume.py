"""Going on with a training whose process died: its state after every epoch, in whole files.

A file holds all that the rest of the training depends on and that is not a pure function of the
seed and the position, as the batches are: the network's variables, among them the state of its
dropout, the optimizer's, with the loss scale and the number of steps, the loss's, the method's
callback's, and the history.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lsplus_tf import config
from lsplus_tf.bounded import json_of
from lsplus_tf.callbacks.loss_callback import ObservingCallback, is_prior, losses_of
from lsplus_tf.errors import InputError
from lsplus_tf.files import set_aside, written_whole
from lsplus_tf.npz_files import read_arrays
from lsplus_tf.training import run_folder
from lsplus_tf.training.environment import package_versions
from lsplus_tf.training.several_hosts import chief_says, hosts
from lsplus_tf.training.steps import Executions

ASK_EVERY_STEPS = 20  # on several hosts, whether it is time to save

Arrays = dict[str, NDArray[Any]]
# What does not fit in a state, if anything does not.
Problem = Callable[["Progress", Arrays], str | None]


@dataclass
class Progress:
    """How far a training is.

    `history` holds the logs of every finished epoch, `step` counts the finished steps of the next,
    `seconds` what all processes together have spent.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy, of equals the first."""
        return int(np.argmax([logs[run_folder.MONITOR] for logs in self.history]))

    def is_over(self, protocol: config.Protocol) -> bool:
        """Whether all epochs are done, or there was no better one for too long."""
        if self.epochs in (0, protocol.epochs):
            return self.epochs > 0
        patience = protocol.early_stopping
        # A backbone that is frozen at first has the same patience once it is trained.
        waits_from = max(self.best_epoch, protocol.fine_tuning.frozen_epochs - 1)
        return patience is not None and self.epochs - 1 - waits_from >= patience


class Checkpoints:
    """The saved states of one training, a file each: the last two, and those of their best epochs.

    Parameters
    ----------
    folder : Path
        Where they lie.
    identity : str
        Of what the training depends on. States of another identity are not used.
    keeps_best : bool
        Whether the network of the best epoch will be asked for.
    """

    def __init__(self, folder: Path, identity: str, *, keeps_best: bool) -> None:
        self._folder = folder
        self._identity = identity
        self._keeps_best = keeps_best
        self._packages = package_versions()
        self._kept: list[Path] = []  # of the last state that was saved or loaded

    def load(self, problem: Problem = lambda *_: None) -> tuple[Progress, Arrays] | None:
        """The last state that is whole, and without a `problem`; None without one.

        Those that cannot be used are set aside.

        Warns
        -----
        UserWarning
            For every file that cannot be used.
        """
        for path in sorted(self._files(), reverse=True):
            try:
                progress, arrays = self._fitting(path, problem)
                if self._keeps_best and progress.history:
                    self._fitting(self._after(progress.best_epoch), problem)
            except InputError as error:
                aside = set_aside(path, beside=self._folder)
                warnings.warn(
                    f"{error}; the training goes on from what was saved before, or from its "
                    f"beginning, and {path.name} is now {aside}",
                    stacklevel=2,
                )
                continue
            self._kept = self._needed(path, progress)
            return progress, arrays
        return None

    def load_of_the_chief(self, problem: Problem) -> tuple[Progress, Arrays] | None:
        """As `load`, on several hosts that which the chief finds."""
        found = self.load(problem) if hosts().is_chief else None
        position = (-1, 0) if found is None else (found[0].epochs, found[0].step)
        epochs, step = chief_says(position)
        if hosts().is_chief or epochs < 0:
            return found
        return self._read(self._path(epochs, step))

    def save(self, progress: Progress, arrays: Arrays) -> None:
        """Add a state, then remove those that are needed no more.

        Raises
        ------
        OSError
            It could not be written. The states before it are still there.
        """
        path = self._path(progress.epochs, progress.step)
        about = json.dumps(
            {
                "identity": self._identity,
                "packages": self._packages,
                "progress": asdict(progress),
            }
        )
        contents: dict[str, Any] = {run_folder.ABOUT: np.array(about), **arrays}
        try:
            with written_whole(path) as partial, partial.open("wb") as file:
                np.savez(file, **contents)
        except OSError as error:
            raise OSError(
                f"{path}: the training could not be saved ({error.strerror or error}); what was "
                "saved before is kept, and the same command goes on from there"
            ) from error
        kept = self._needed(path, progress)
        for old in set(self._files()) - {*kept, *self._kept}:
            old.unlink()
        self._kept = kept

    def arrays_after(self, epoch: int) -> Arrays:
        """The state after a 0-based epoch that was among the best."""
        return self._read(self._after(epoch))[1]

    def discard(self) -> None:
        for path in self._files():
            path.unlink()

    def _needed(self, path: Path, progress: Progress) -> list[Path]:
        if self._keeps_best and progress.history:
            return [path, self._after(progress.best_epoch)]
        return [path]

    def _files(self) -> Iterator[Path]:
        return self._folder.glob(run_folder.CHECKPOINTS)

    def _path(self, epochs: int, step: int) -> Path:
        return self._folder / f"after_{epochs:06d}_epochs_{step:09d}_steps.npz"

    def _after(self, epoch: int) -> Path:
        return self._path(epoch + 1, 0)

    def _fitting(self, path: Path, problem: Problem) -> tuple[Progress, Arrays]:
        """A state of this training without a `problem`."""
        progress, arrays = self._read(path)
        if why := problem(progress, arrays):
            raise InputError(f"{path}: not a saved training of this network ({why})")
        return progress, arrays

    def _read(self, path: Path) -> tuple[Progress, Arrays]:
        """A state of this training; `InputError` unless the file is one, and whole."""
        with run_folder.reading(path, "a saved training"):
            arrays = read_arrays(path)  # to the last byte, with their checksums
            about = json_of(str(arrays.pop(run_folder.ABOUT)), finite=False)
            identity, packages = about["identity"], dict(about["packages"])
            progress = _progress(about["progress"])
            if self._path(progress.epochs, progress.step) != path:
                raise ValueError("it is of another epoch or step than its name says")
        if identity != self._identity:
            raise InputError(
                f"{path}: expected a training on these images, with these settings and class "
                "accuracies, found another"
            )
        if packages != self._packages:
            warnings.warn(
                f"{path}: saved with {_listed(packages)}; with {_listed(self._packages)} the "
                "training may not give the bits that it would have given uninterrupted",
                stacklevel=3,
            )
        return progress, arrays


class SavedTraining(keras.callbacks.Callback):
    """Saves the training after every epoch, and within long ones; begins where it was saved.

    Comes after the callbacks whose state it saves, and ends the training when it is over. A `fit`
    that goes on within an epoch gets batches from there on; the steps before are passed over.

    Parameters
    ----------
    protocol : Protocol
        When to save and when to stop.
    checkpoints : Checkpoints
        Where the states are kept.
    state : State
        What is saved.
    steps : int
        Those of an epoch.
    started : float
        When the process began with the run, by `time.monotonic`.

    Attributes
    ----------
    progress : Progress
        How far the training is.
    """

    def __init__(
        self,
        protocol: config.Protocol,
        checkpoints: Checkpoints,
        state: State,
        steps: int,
        started: float,
    ) -> None:
        super().__init__()
        self._protocol = protocol
        self._checkpoints = checkpoints
        self._state = state
        self._steps = steps
        self.progress = Progress()
        self._saved: Arrays | None = None
        found = checkpoints.load_of_the_chief(self._problem)
        if found is not None:
            self.progress, self._saved = found
        self._resumed_at = self.progress.step
        self._begun = started - self.progress.seconds
        self._last_save = time.monotonic()

    def _problem(self, progress: Progress, arrays: Arrays) -> str | None:
        if progress.epochs > self._protocol.epochs or progress.step >= self._steps:
            return "it has more epochs or steps than the training"
        return self._state.problem(progress.epochs, arrays)

    def seconds(self) -> float:
        """What the run has taken until now, in all processes."""
        return time.monotonic() - self._begun

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._saved is None:
            return
        self._state.restore(self._saved)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._saved is not None and self._resumed_at:
            # Not before: `fit` resets the metrics.
            self._state.restore_metrics(self._saved)
        self._saved = None
        # Not once for all: callbacks make new train functions.
        if not isinstance(self.model.train_function, Executions):
            self.model.train_function = Executions(self.model, self.params["steps"])
        self.model.train_function.begin_epoch(self._resumed_at)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        step = batch + 1
        if step <= self._resumed_at or step >= self.params["steps"]:
            return
        if self._is_due(step):
            self.progress.step = step
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self.progress.history.append(logs)
        self.progress.step = self._resumed_at = 0
        if not math.isfinite(logs["loss"]):
            return  # nothing can come of it
        self._save()
        if self.progress.is_over(self._protocol):
            self.model.stop_training = True

    def _is_due(self, step: int) -> bool:
        due = time.monotonic() - self._last_save >= 60 * self._protocol.save_every_minutes
        if hosts().count == 1:
            return due
        # All read the state together, when the chief's clock says so. Asking costs a little.
        return step % ASK_EVERY_STEPS == 0 and chief_says([due]) == [True]

    def _save(self) -> None:
        self.progress.seconds = self.seconds()
        arrays = self._state.arrays()
        if hosts().is_chief:
            self._checkpoints.save(self.progress, arrays)
        self._last_save = time.monotonic()


class State:
    """What a training holds: network, optimizer, losses, metrics and the method's callback.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    metrics : sequence of keras.metrics.Metric
        Those that it is compiled with.
    adapting : keras.callbacks.Callback, optional
        The method's callback, which is of the same `fit`.
    """

    def __init__(
        self,
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric],
        adapting: keras.callbacks.Callback | None,
    ) -> None:
        self._model = model
        self._metrics = metrics
        self._adapting = adapting if isinstance(adapting, ObservingCallback) else None
        self._loss = None if self._adapting is None else self._adapting.only_loss(model)
        # Now, as all hosts read variables together, and the chief alone looks for saved states.
        fresh = _arrays(model) | _values("metrics", self._metrics_variables())
        self._kinds = {name: (array.shape, array.dtype) for name, array in fresh.items()}

    def arrays(self) -> Arrays:
        """All of it."""
        arrays = _arrays(self._model) | _values("metrics", self._metrics_variables())
        if self._adapting is not None:
            arrays |= _named("callback", self._adapting.training_state())
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Go on from what was saved; for use when a `fit` begins."""
        restore(self._model, arrays)
        if self._adapting is not None:
            self._adapting.resume(_part(arrays, "callback"))

    def restore_metrics(self, arrays: Arrays) -> None:
        """Those of an unfinished epoch, which `fit` has just reset."""
        _assign(self._metrics_variables(), _part(arrays, "metrics"))

    def problem(self, epochs: int, arrays: Arrays) -> str | None:
        """Why what was saved after so many epochs cannot be restored; None if it can.

        Nothing is read of the model, so that one of several hosts may ask.
        """
        expected = dict(self._kinds)
        of_callback = _part(arrays, "callback")
        found = {name: arrays[name] for name in arrays if not name.startswith("callback/")}
        classes = self._model.output.shape[-1]
        for name in [name for name in expected if name.endswith("/first_prior")]:
            now = name.replace("first_prior", "prior")  # of a loss that has another by now
            if now in found:
                if not is_prior(found[now], classes):
                    return f"{now} is no prior of {classes} classes"
                del expected[name], found[now]
        if different := sorted(expected.keys() ^ found.keys()):
            return f"it has {len(found)} arrays where there are {len(expected)}: {different[0]}"
        for name, array in found.items():
            needed, of = expected[name]
            if (array.shape, array.dtype) != (needed, of):
                return f"{name} is {array.shape} of {array.dtype}, and not {needed} of {of}"
        for name, array in arrays.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                return f"{name} has NaN"
        if self._adapting is None:
            return "it has arrays of a callback" if of_callback else None
        return self._adapting.problem(of_callback, epochs, self._loss)

    def _metrics_variables(self) -> list[Any]:
        # The model lists those it was compiled with when it has seen a batch, and not before.
        return [
            *self._model.metrics[0].variables,  # of the loss
            *(variable for metric in self._metrics for variable in metric.variables),
        ]


def _progress(values: Any) -> Progress:
    """How far a training is, as a file says; `ValueError` unless it is possible."""
    progress = Progress(**values)
    run_folder.checked_history(progress.history)
    if type(progress.step) is not int or progress.step < 0:
        raise ValueError("it has no number of steps")
    if type(progress.seconds) is not float or not 0 <= progress.seconds < math.inf:
        raise ValueError("it has no number of seconds")
    return progress


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def restore(model: keras.Model, arrays: Arrays) -> None:
    """Give a compiled model what was saved: network, optimizer and loss."""
    _assign(model.variables, _part(arrays, "model"))
    _assign(model.optimizer.variables, _part(arrays, "optimizer"))
    for i, loss in enumerate(_losses(model)):
        loss.load_own_variables(_part(arrays, f"loss_{i}"))


def _arrays(model: keras.Model) -> Arrays:
    arrays = _values("model", model.variables) | _values("optimizer", model.optimizer.variables)
    for i, loss in enumerate(_losses(model)):
        store: Arrays = {}
        loss.save_own_variables(store)
        arrays |= _named(f"loss_{i}", store)
    return arrays


def _values(prefix: str, variables: list[Any]) -> Arrays:
    values = (keras.ops.convert_to_numpy(variable) for variable in variables)
    return _named(prefix, {str(i): value for i, value in enumerate(values)})


def _losses(model: keras.Model) -> list[Any]:
    """The losses that hold variables, those that a penalty is added to among them."""
    return [loss for loss in losses_of(model) if hasattr(loss, "save_own_variables")]


def _assign(variables: list[Any], arrays: Arrays) -> None:
    for i, variable in enumerate(variables):
        variable.assign(arrays[str(i)])


def _named(prefix: str, arrays: Arrays) -> Arrays:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _part(arrays: Arrays, prefix: str) -> Arrays:
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}
