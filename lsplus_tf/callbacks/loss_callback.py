"""How callbacks learn from the steps of `fit`: the losses show them what they are asked about.

Callbacks see no outputs, and a loss is not told whether it trains. So the model's `train_step` and
`test_step` say which step it is while they run or are traced (`lsplus_tf.losses.steps`), and the
losses, for which Keras has sorted out outputs and labels, show their batches to the callbacks.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, FunctionType, MethodType
from typing import Any, ClassVar, Generic, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, ClassificationLoss
from lsplus_tf.losses.steps import step, within_step

LossType = TypeVar("LossType", bound=ClassificationLoss)
Value = TypeVar("Value")

_WRAPPED = ("train_step", "test_step", "get_metrics_result")


class LossCallback(keras.callbacks.Callback, abc.ABC, Generic[LossType]):
    """A callback for losses of one class, with which a model is trained.

    Parameters
    ----------
    loss : ClassificationLoss or sequence of ClassificationLoss, optional
        The losses; None is all that the model was compiled with, or that it, its layers, losses and
        functions hold.

    Attributes
    ----------
    losses : list of ClassificationLoss
        The losses, since training has begun.

    Raises
    ------
    InputError
        A loss of another class. When training begins: no loss, or several for one output.

    Warns
    -----
    UserWarning
        When training begins, of a loss that Keras does not save with the model.
    """

    loss_class: type[LossType]
    loss_names: ClassVar[str] = ""  # for messages, where users make losses of other classes

    def __init__(self, loss: Any = None) -> None:
        super().__init__()
        self._given = [] if loss is None else list(_leaves(loss))
        self._expected_losses = self.loss_names or self.loss_class.__name__
        for each in self._given:
            if not isinstance(each, self.loss_class):
                raise InputError(
                    f"loss: expected {self._expected_losses}, received {described(each)}"
                )
        self.losses: list[LossType] = self._given

    def losses_in(self, model: keras.Model) -> list[LossType]:
        """Those given, or else all that the model has."""
        found = [loss for loss in losses_of(model) if isinstance(loss, self.loss_class)]
        return self._given or found

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        _check_each_has_an_output(self.model)
        self.losses = self.losses_in(self.model)
        if not self.losses:
            raise InputError(
                f"{type(self).__name__}: expected a model compiled with "
                f"{self._expected_losses}, received {described(self.model.loss)}; a loss that "
                f"the model does not hold has to be given: {type(self).__name__}(loss=...)"
            )
        saved = {*map(id, losses_of(self.model, saved=True))}
        for loss in self.losses:
            if id(loss) not in saved:
                warnings.warn(
                    f"{loss.name}: Keras does not save what it learns, since the model holds it in "
                    "a function or not at all; make it an attribute of the model",
                    stacklevel=3,
                )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for loss in self.losses:
            loss.set_epoch(epoch)

    def of_losses(self, value: Callable[[LossType], Value]) -> Any:
        """The value of the loss, or a list of those of several."""
        values = [value(loss) for loss in self.losses]
        return values[0] if len(values) == 1 else values


def _check_no_trace_is_shared(model: keras.Model) -> None:
    """What TensorFlow traced in a training step it computes in the validation too."""
    for name, given in (("loss", model.loss), ("compute_loss", model.compute_loss)):
        if any(hasattr(part, "python_function") for part in _leaves(given)):
            raise InputError(
                f"{name}: expected a Python function, received a tf.function, which computes the "
                "same in training and validation; leave out @tf.function, Keras traces its steps"
            )


def _check_each_has_an_output(model: keras.Model) -> None:
    """Of several losses for one output Keras computes all and trains with the first alone."""
    losses, outputs = model.loss, getattr(model, "outputs", None)
    if isinstance(losses, (list, tuple)) and outputs and len(outputs) < len(losses):
        raise InputError(
            f"loss: expected a loss for each output of the model, {len(outputs)}, received a list "
            f"of {len(losses)}, of which Keras trains with {len(outputs)} alone; compile the model "
            "with a function that adds losses up, and give the callback the one it is for"
        )


class ObservingCallback(LossCallback[LossType]):
    """A loss callback that is shown what its losses are asked about in steps of `fit`.

    From `on_train_begin` to `on_train_end` the model's steps are wrapped, once for all such
    callbacks, and traced anew.

    Raises
    ------
    InputError
        When training begins, of a loss that another such callback has too.
    """

    _observers: list[ObservingCallback[Any]]  # of the model in training

    def follows(self, loss: ClassificationLoss) -> bool:
        """Whether a loss is one of the callback's."""
        return any(loss is mine for mine in self.losses)

    def see(self, loss: ClassificationLoss, batch: Batch, *, training: bool) -> None:
        """Look at a batch; called where the step is traced."""
        if self.follows(loss):
            self.learn(loss, batch, training=training)

    @abc.abstractmethod
    def learn(self, loss: LossType, batch: Batch, *, training: bool) -> None:
        """Learn from a batch of one of the callback's losses."""

    def on_steps_end(self) -> None:
        """An epoch's training steps are over; no callback was told of it yet."""

    def on_broken_off(self) -> None:
        """The training ended in an exception; another one of the model has begun."""

    @abc.abstractmethod
    def training_state(self) -> dict[str, NDArray[Any]]:
        """What the callback holds between two epochs, beside its `only_loss`'s own variables."""

    @abc.abstractmethod
    def resume(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a `training_state`; for use after `on_train_begin`, which starts anew."""

    @abc.abstractmethod
    def problem(self, state: dict[str, NDArray[Any]], epochs: int, loss: LossType) -> str | None:
        """Why a `training_state` after so many epochs cannot be resumed; None if it can."""

    def only_loss(self, model: keras.Model) -> LossType:
        """The callback's loss in a model whose training is saved, which is done with one alone."""
        found = self.losses_in(model)
        if len(found) != 1:
            raise InputError(
                f"{type(self).__name__}: expected one loss, since the training's state is saved, "
                f"received {len(found)}"
            )
        return found[0]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        _check_no_trace_is_shared(self.model)
        observers = _observers(self.model)
        of_fits = [params_of(fit) for fit in running_fits(self.model)]
        for other in list(observers):
            # The callbacks of a `fit` share one dict of params. Others are those of a `fit` that
            # has called this one, or left from a training that ended in an exception.
            is_outer = len(of_fits) > 1 and (other is self or _is_one_of(other.params, of_fits[1:]))
            if not is_outer and (other is self or other.params is not self.params):
                observers.remove(other)
                other.on_broken_off()
            elif {*map(id, other.losses)} & {*map(id, self.losses)}:
                hint = ", one of a fit that has called this one; leave it out here"
                raise InputError(
                    f"callbacks: expected one {type(self).__name__} for a loss, received two"
                    + (hint if is_outer else "")
                )
        observers.append(self)
        self._observers = observers
        trace_anew(self.model)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._observers.remove(self)
        if not self._observers:
            _unwrap(self.model)
        # They were traced with what the callback learns; a loss does not warn there.
        trace_anew(self.model)


def trace_anew(model: keras.Model) -> None:
    """Forget the steps that were traced; a `fit` that runs goes on with others."""
    model.train_function = model.test_function = None
    model.make_train_function()


def _unwrap(model: keras.Model) -> None:
    for name in _WRAPPED:
        function = vars(model).get(name)
        if hasattr(function, "observers"):
            # The class's method shows again, or what the user had put before it.
            delattr(model, name)
            if function.replaced is not None:
                setattr(model, name, function.replaced)


def _observers(model: keras.Model) -> list[ObservingCallback[Any]]:
    """The callbacks that the losses of the model's steps show their batches to."""
    wrapped = vars(model).get("train_step")
    if hasattr(wrapped, "observers"):
        return wrapped.observers
    observers: list[ObservingCallback[Any]] = []

    def replace(name: str, around: Callable[..., Any]) -> None:
        inner = getattr(model, name)
        if hasattr(inner, "python_function"):
            # What a tf.function has traced shows its batches to nobody, or to former callbacks.
            options = {"jit_compile": getattr(inner, "_jit_compile", None)}
            inner = tf.function(inner.python_function, **options)
        function: Any = functools.wraps(inner)(functools.partial(around, inner))
        function.observers, function.replaced = observers, vars(model).get(name)
        setattr(model, name, function)

    def training(inner: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with step(observers, training=True):
            return inner(*arguments, **options)

    def evaluation(inner: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with step(observers, training=False):
            return inner(*arguments, **options)

    def get_metrics_result(inner: Callable[..., Any]) -> Any:
        # `fit` asks when an epoch's steps are over, before any callback hears of it.
        if not within_step() and (fit := _asking_fit()) is not None:
            of_fits = [params_of(each) for each in running_fits(model)]
            for observer in list(observers):
                if observer.params is params_of(fit) or params_of(fit) is None:
                    observer.on_steps_end()
                elif not _is_one_of(observer.params, of_fits):
                    # It is left from a training that ended in an exception.
                    observers.remove(observer)
                    observer.on_broken_off()
            if not observers:
                _unwrap(model)
                trace_anew(model)
        return inner()

    for name, around in zip(_WRAPPED, (training, evaluation, get_metrics_result), strict=True):
        replace(name, around)
    return observers


def running_fits(model: keras.Model) -> list[dict[str, Any]]:
    """What a model's `fit`s that run hold in their variables, the innermost first.

    Keras tells callbacks neither whether there are several, as where one of them calls `fit`, nor
    what `fit` was given.
    """
    code, frame = inspect.unwrap(keras.Model.fit).__code__, sys._getframe(1)
    found = []
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is model:
            found.append(frame.f_locals)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def params_of(fit: dict[str, Any]) -> dict[str, Any] | None:
    """What the callbacks of a `fit` share; None where it cannot be seen."""
    return getattr(fit.get("callbacks"), "params", None)


def _is_one_of(params: Any, others: list[Any]) -> bool:
    return any(params is other for other in others)


def _asking_fit() -> dict[str, Any] | None:
    """The variables of the `fit` that itself asks; None for an `evaluate`, or a callback."""
    caller: FrameType | None = sys._getframe(2)
    if caller is not None and caller.f_code.co_name == "_get_metrics_result_or_logs":
        caller = caller.f_back
    return caller.f_locals if caller is not None and caller.f_code.co_name == "fit" else None


def losses_of(model: keras.Model, *, saved: bool = False) -> list[ClassificationLoss]:
    """The losses of this package that a model was compiled with, then others that it holds.

    What models within it were compiled with is not its own. Or those that Keras saves with it: of
    models within it too, but not what functions hold.
    """
    found: dict[int, ClassificationLoss] = {}
    seen: set[int] = set()

    def look(held: Any) -> None:
        if id(held) in seen:
            return
        seen.add(id(held))
        if isinstance(held, ClassificationLoss):
            found[id(held)] = held
        if isinstance(held, dict):
            parts: Iterable[Any] = held.values()
        elif isinstance(held, (list, tuple, set)):
            parts = held
        elif isinstance(held, (keras.losses.Loss, keras.Layer)):
            is_inner = isinstance(held, keras.Model) and held is not model and not saved
            of_others = ("loss", "_compile_loss") if is_inner else ()
            parts = [part for name, part in vars(held).items() if name not in of_others]
        elif saved:
            return
        elif isinstance(held, functools.partial):
            parts = [held.func, *held.args, *held.keywords.values()]
        elif isinstance(held, MethodType):
            owner = held.__self__
            known = isinstance(owner, (keras.losses.Loss, keras.Layer))
            parts = [owner] if known else getattr(owner, "__dict__", {}).values()
        elif isinstance(held, FunctionType):
            parts = _closed_over(held)
        elif callable(held) and not isinstance(held, (type, keras.metrics.Metric)):
            parts = getattr(held, "__dict__", {}).values()  # a tf.function too holds its function
        else:
            return
        for part in parts:
            look(part)

    look(model.loss)
    look(model)
    return list(found.values())


def _closed_over(function: FunctionType) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            yield cell.cell_contents


def _leaves(losses: Any) -> Iterator[Any]:
    if isinstance(losses, dict):
        losses = list(losses.values())
    if not isinstance(losses, (list, tuple)):
        yield losses
        return
    for part in losses:
        yield from _leaves(part)


def described(losses: Any) -> str:
    """What a model was compiled with, in words."""
    named = (
        loss if isinstance(loss, str) or loss is None else type(loss).__name__
        for loss in _leaves(losses)
    )
    return f"loss: {', '.join(map(str, named))}"


def other_shapes(state: dict[str, NDArray[Any]], **shapes: tuple[int, ...]) -> str | None:
    """In what arrays differ from those that are expected; None if they have these shapes."""
    found = {name: array.shape for name, array in state.items()}
    return None if found == shapes else f"the callback has {found}, and not {shapes}"


def is_prior(array: NDArray[Any], num_classes: int) -> bool:
    """Whether an array has a distribution over the classes for each of them."""
    if array.shape != (num_classes, num_classes) or array.dtype.kind != "f":
        return False
    return bool((array >= 0).all()) and np.allclose(array.sum(axis=1), 1.0, atol=1e-4)
