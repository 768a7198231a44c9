"""Losses with a state that something renews between epochs, and that is saved with the model."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, ClassificationLoss
from lsplus_tf.losses.feeding import Feeding, Moment, noticing_training


class ChangingLoss(ClassificationLoss):
    """A loss that something changes between epochs; training warns where that is missing.

    Attributes
    ----------
    is_fed : bool
        Whether something changes the loss between epochs, where it should change.
    """

    # What is missing where nothing feeds the loss, or what it is fed is not used, and what to do.
    not_fed: ClassVar[str] = ""
    not_renewed: ClassVar[str] = ""
    when_fed: ClassVar[Moment] = "before"  # when it is; see `Feeding`

    _feeding: Feeding
    _changes: bool

    def _watch(self, feeding: Feeding, *, changes: bool = True) -> None:
        """Say by `feeding` what is missing; for use in `__init__`."""
        self._feeding, self._changes = feeding, changes
        if changes:
            weakref.finalize(self, feeding.at_end)

    @property
    def is_fed(self) -> bool:
        return self._feeding.is_fed

    @is_fed.setter
    def is_fed(self, fed: bool) -> None:
        self._feeding.is_fed = fed

    def noticing_training(self, losses: tf.Tensor) -> tf.Tensor:
        """`losses` as they are, where their gradient tells that the loss is trained."""
        return noticing_training(losses, self._feeding) if self._changes else losses

    def save_own_variables(self, store: Any) -> None:
        del store
        if self._changes:
            self._feeding.when_saved()

    def load_own_variables(self, store: Any) -> None:
        """Take what was saved."""


class RenewedLoss(ChangingLoss):
    """A loss with a state that something renews between epochs.

    It is saved in `.keras` and `.weights.h5`. Subclasses give the variables of their `_state`, and
    pass their losses through `noticing_training`.
    """

    state_is: ClassVar[str] = "soft labels"  # for messages
    num_classes: int
    num_classes_from: ClassVar[str] = "num_classes"  # the argument that tells K, for messages

    _awaits_state = False

    def _state(self) -> dict[str, tf.Variable]:
        """What is saved; names that are this loss's alone, so that another's are not taken."""
        return {}

    def begins_in(self, model: keras.Model, held: Sequence[ClassificationLoss]) -> None:
        """A training of `model` begins in which a callback renews the state.

        Parameters
        ----------
        model : keras.Model
            Compiled with the loss, or given it.
        held : sequence of ClassificationLoss
            The losses that the model has now.
        """
        self.is_fed = True
        kind = type(self).__name__
        other = _OF_MODELS.get(model, {}).get(kind)
        is_new = not (self._feeding.renewed or self._awaits_state)
        is_gone = not any(getattr(loss, "_feeding", None) is other for loss in held)
        if other is not None and is_gone and other.renewed and is_new:
            warnings.warn(
                f"{self.name}: the model was compiled anew, with a new loss, so that its "
                f"{self.state_is} begin anew; to go on with those there are, compile with the same "
                "loss",
                stacklevel=3,
            )
        shared = [m for m, of_model in _OF_MODELS.items() if of_model.get(kind) is self._feeding]
        if any(m is not model for m in shared):
            warnings.warn(
                f"{self.name}: one loss object is in two models, which share its {self.state_is}; "
                "give each model its own",
                stacklevel=3,
            )
        _OF_MODELS.setdefault(model, {})[kind] = self._feeding

    def noticing_training(self, losses: tf.Tensor) -> tf.Tensor:
        self.warn_of_lost_state()
        return super().noticing_training(losses)

    def warn_of_lost_state(self) -> None:
        """Say once that the state it was trained with did not come with it."""
        if self._awaits_state:
            self._awaits_state = False
            warnings.warn(
                f"{self.name}: expected the {self.state_is} that it was trained with, which were "
                "not where it came from: .h5 files and copies of a config have none. They are "
                "those of a new loss; .keras and .weights.h5 files keep them",
                stacklevel=3,
            )

    def check_num_classes(self, num_classes: int) -> None:
        if num_classes != self.num_classes:
            raise InputError(
                f"y_pred: expected {self.num_classes} classes as in {self.num_classes_from}, "
                f"received {num_classes}"
            )

    def _own_batch(
        self, y_true: Any, y_pred: Any, from_logits: bool | None, sample_weight: Any = None
    ) -> Batch:
        """What a loop of one's own gives, of which labels outside 0..K-1 do not count."""
        self.is_fed = self._feeding.in_own_loop = True
        return self.batch_of(y_true, y_pred, sample_weight, from_logits)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for name, variable in self._state().items():
            store[name] = tf.convert_to_tensor(variable).numpy()

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        # Weights that were saved under another loss hold no state of this; that here then stays.
        state = self._state()
        if state and all(name in store for name in state):
            self._awaits_state = False
            self._feeding.renewed = True
            for name, variable in state.items():
                variable.assign(store[name][...])

    def get_config(self) -> dict[str, Any]:
        renewed = self.not_fed and (self._awaits_state or self._feeding.renewed)
        return {**super().get_config(), **({"renewed": True} if renewed else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        renewed = config.pop("renewed", False)
        loss: Any = super().from_config(config)
        loss._awaits_state = renewed
        return loss


# Of a class, the feeding of the loss whose state a model's last training renewed.
_OF_MODELS: weakref.WeakKeyDictionary[keras.Model, dict[str, Feeding]]
_OF_MODELS = weakref.WeakKeyDictionary()
