"""How callbacks learn from the steps of `fit`: the losses show them what they are asked about.

Callbacks see no outputs, and a loss is not told whether it trains. So the model's `train_step` and
`test_step` say which step it is while they run or are traced (`lsplus_tf.losses.steps`), and the
losses, for which Keras has sorted out outputs and labels, show their batches to the callbacks.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, FunctionType, MethodType
from typing import Any, Generic, TypeVar

import keras
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, ClassificationLoss
from lsplus_tf.losses.steps import step, within_step

LossType = TypeVar("LossType", bound=ClassificationLoss)
Value = TypeVar("Value")

# What runs while a callback's hook does: all go through Keras's list of them.
_HOOKS = {
    function.__code__
    for name, function in vars(keras.callbacks.CallbackList).items()
    if name.startswith("on_")
}


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
        A loss of another class. When training begins: no loss, or one that another callback of the
        class has too.
    """

    loss_class: type[LossType]

    def __init__(self, loss: Any = None) -> None:
        super().__init__()
        self._given = [] if loss is None else list(_leaves(loss))
        for each in self._given:
            if not isinstance(each, self.loss_class):
                raise InputError(
                    f"loss: expected {self.loss_class.__name__}, received {described(each)}"
                )
        self.losses: list[LossType] = self._given

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        found = [loss for loss in losses_of(self.model) if isinstance(loss, self.loss_class)]
        self.losses = self._given or found
        if not self.losses:
            raise InputError(
                f"{type(self).__name__}: expected a model compiled with "
                f"{self.loss_class.__name__}, received {described(self.model.loss)}; a loss that "
                f"the model does not hold has to be given: {type(self).__name__}(loss=...)"
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for loss in self.losses:
            loss.set_epoch(epoch)

    def of_losses(self, value: Callable[[LossType], Value]) -> Any:
        """The value of the loss, or a list of those of several."""
        values = [value(loss) for loss in self.losses]
        return values[0] if len(values) == 1 else values


class ObservingCallback(LossCallback[LossType]):
    """A loss callback that is shown what its losses are asked about in steps of `fit`.

    From `on_train_begin` to `on_train_end` the model's steps are wrapped, once for all such
    callbacks, and traced anew.
    """

    def see(self, loss: ClassificationLoss, batch: Batch, *, training: bool) -> None:
        """Look at a batch; called where the step is traced."""
        if any(loss is mine for mine in self.losses):
            self.learn(loss, batch, training=training)

    @abc.abstractmethod
    def learn(self, loss: LossType, batch: Batch, *, training: bool) -> None:
        """Learn from a batch of one of the callback's losses."""

    def on_steps_end(self) -> None:
        """An epoch's training, or its validation, is over; no callback was told of it yet."""

    @abc.abstractmethod
    def training_state(self) -> dict[str, NDArray]:
        """What the callback holds between two epochs, beside the loss's own variables."""

    @abc.abstractmethod
    def resume(self, state: dict[str, NDArray]) -> None:
        """Go on from a `training_state`; for use after `on_train_begin`, which starts anew."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        observers = _observers(self.model)
        for other in list(observers):
            # The callbacks of a `fit` share one dict of params. Others are left from a training
            # that ended in an exception.
            if other is self or other.params is not self.params:
                observers.remove(other)
            elif {*map(id, other.losses)} & {*map(id, self.losses)}:
                raise InputError(
                    f"callbacks: expected one {type(self).__name__} for a loss, received two"
                )
        observers.append(self)
        self.model.make_train_function(force=True)
        self.model.test_function = None

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        observers = _observers(self.model)
        observers.remove(self)
        if not observers:
            for name, function in list(vars(self.model).items()):
                if hasattr(function, "observers"):
                    # The class's method shows again, or what the user had put before it.
                    delattr(self.model, name)
                    if function.replaced is not None:
                        setattr(self.model, name, function.replaced)
        # Traced with what the callback learns; a loss does not warn there.
        self.model.train_function = self.model.test_function = None


def _observers(model: keras.Model) -> list[ObservingCallback[Any]]:
    """The callbacks that the losses of the model's steps show their batches to."""
    wrapped = vars(model).get("train_step")
    if hasattr(wrapped, "observers"):
        return wrapped.observers
    observers: list[ObservingCallback[Any]] = []

    def replace(name: str, around: Callable[..., Any]) -> None:
        inner = getattr(model, name)
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
        # `fit` asks when an epoch's steps are over, before any callback hears of it, and when its
        # validation is.
        if not within_step() and _asked_by_fit():
            of_this_fit = getattr(getattr(model, "history", None), "params", None)
            for observer in observers:
                # Others are left from a training that ended in an exception.
                if of_this_fit is None or observer.params is of_this_fit:
                    observer.on_steps_end()
        return inner()

    replace("train_step", training)
    replace("test_step", evaluation)
    replace("get_metrics_result", get_metrics_result)
    return observers


def _asked_by_fit() -> bool:
    """Whether `fit` itself asks, and no hook of a callback, which may also evaluate."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code not in _HOOKS:
        if frame.f_code.co_name == "fit":
            return True
        frame = frame.f_back
    return False


def losses_of(model: keras.Model) -> list[ClassificationLoss]:
    """The losses of this package that a model was compiled with, then others that it holds."""
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
            parts = list(vars(held).values())
        elif isinstance(held, functools.partial):
            parts = [held.func, *held.args, *held.keywords.values()]
        elif isinstance(held, MethodType):
            parts = [held.__self__]
        elif isinstance(held, FunctionType):
            parts = _closed_over(held)
        else:
            return
        for part in parts:
            look(part)

    look(model.loss)
    look(model)
    return list(found.values())


def _closed_over(function: FunctionType) -> Iterator[Any]:
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
