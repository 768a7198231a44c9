"""Numbers of any size are refused in a line, or take neither memory nor time."""

from __future__ import annotations

import math
import time
import typing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import DIGITS
from pydantic import ValidationError

import lsplus_tf as lsp
from lsplus_tf.config import Backbone, Experiment, Phantom, checked, load_config
from lsplus_tf.config.methods import METHODS, MethodSettings
from lsplus_tf.config.settings import Settings
from lsplus_tf.errors import InputError, check_count, check_seed
from lsplus_tf.experiments import LocalProcesses

# --- settings -------------------------------------------------------------------------------------


def kinds(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("lsplus_tf."):
            yield each
        yield from kinds(each)


def is_numeric(annotation: Any) -> bool:
    """Whether a field has numbers itself, and not in a section below."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return False
    return annotation in (int, float) or any(map(is_numeric, typing.get_args(annotation)))


FIELDS = sorted(
    {
        (kind, name)
        for kind in kinds()
        for name, field in kind.model_fields.items()
        if is_numeric(field.annotation)
    },
    key=str,
)


def takes(kind: type[Settings], name: str, value: float) -> bool:
    """Whether a field takes a number, alone or in a list; others of its section may be missing."""
    for form in (value, [value], [value, value], [0.0, value], [value, 1.0]):
        try:
            kind.model_validate({name: form})
        except ValidationError as error:
            if any(mistake["loc"][:1] in ((name,), ()) for mistake in error.errors()):
                continue
        return True
    return False


FACTORS = "learning_rate weight_decay weight soft_weight margin "
FACTORS += "multiplier temperature gamma gate norm growth improvement rate "
FACTORS += "slope gate_learning_rate gate_weight_decay"
# What a large number may be given for, as nothing is allocated by it.
HARMLESS = {
    **dict.fromkeys(FACTORS.split(), "multiplies float32s, of which a training ends in a line"),
    **dict.fromkeys(["mixup", "separation", "shrinkage"], "is drawn with, or divided by"),
    **dict.fromkeys(["window", "range"], "are limits of grey levels"),
    **dict.fromkeys(["seed", "seeds", "split_seed"], "seed a generator"),
    **dict.fromkeys(["samples_per_class", "features"], "are at most the images that there are"),
    "epochs": "take time, after each of which the training is saved",
    "early_stopping": "is compared with epochs",
    "frozen_epochs": "are fewer than epochs",
    "refresh_every": "is compared with epochs",
    "update_every": "is compared with epochs",
    "validation_steps": "are at most those that there are",
    "steps_per_execution": "are at most those that there are",
    "save_every_minutes": "is compared with a clock",
}


def test_fields_are_found():
    assert {(Backbone, "width"), (Experiment, "seeds"), (Phantom, "separation")} < {*FIELDS}
    assert len([kind for kind, _ in FIELDS if issubclass(kind, MethodSettings)]) > 30


@pytest.mark.parametrize("value", [10**400, -(10**400), math.nan, math.inf, -math.inf, 1e39])
def test_no_field_takes_what_float32_cannot_hold(value):
    assert [(kind, name) for kind, name in FIELDS if takes(kind, name, value)] == []


@pytest.mark.parametrize("value", [-1, -1.0])
def test_no_field_takes_a_negative_number(value):
    assert {name for kind, name in FIELDS if takes(kind, name, value)} == {"window", "range"}


LOGITS = np.array([[30.0, -20.0, 5.0], [-8.0, 12.0, 12.0]], np.float32)


@pytest.mark.parametrize(
    ("loss", "name", "numbers", "refused"),
    [
        ("cals", "margin", (1e-6, 1e6), (1e-300, 9e-7, 1.1e6, 1e38)),
        *(
            ("acls", name, (0.0, 1e4), (1.1e4, 1e38))
            for name in ("weight", "positive_weight", "negative_weight")
        ),
        ("brier_scaled_cross_entropy", "gamma", (0.0, 100.0), (101.0, 300.0)),
    ],
)
def test_a_loss_and_its_settings_have_the_same_bounds(loss, name, numbers, refused):
    """With the last number that is taken, values and gradients are finite."""
    kind = METHODS[loss]
    made = getattr(lsp.losses, kind.loss_class)
    given = {"num_classes": 3} if "num_classes" in kind.from_data else {}
    for number in numbers:
        assert getattr(kind(loss=loss, **{name: number}), name) == number
        value = made(**given, **{name: number}, from_logits=True)
        value.is_fed = True
        logits = tf.Variable(LOGITS)
        with tf.GradientTape() as tape:
            loss_value = value([1, 2], logits)
        assert np.isfinite(loss_value)
        assert np.isfinite(tape.gradient(loss_value, logits)).all()
    for number in refused:
        assert not takes(kind, name, number)
        with pytest.raises(InputError, match=f"{name}: expected a number in "):
            made(**given, **{name: number})


def test_large_numbers_are_taken_where_they_do_no_harm():
    for value in (10**9, 1e9):
        assert {name for kind, name in FIELDS if takes(kind, name, value)} <= {*HARMLESS}
    assert {name for kind, name in FIELDS if takes(kind, name, 10**9)} == {*HARMLESS}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["backbone.width=1e9"], "backbone.width: expected at most 32"),
        (["backbone.width=-1"], "backbone.width: expected more than 0"),
        (["backbone.width=.nan"], "backbone.width: "),
        (["backbone.head=[1000000000]"], "backbone.head.0: expected at most 65536"),
        (
            ["backbone.head=[60000,60000]"],
            "backbone.head: with width 0.5 and [60000, 60000] the net",
        ),
        ([f"backbone.head={[8] * 17}".replace(" ", "")], "backbone.head: expected at most 16 of"),
        (["backbone.name=mobilenet_v2", "backbone.width=30"], "about 2.1e+09 parameters"),
        (["protocol.batch_size=1000000000"], "protocol.batch_size: expected at most 1048576"),
        (["protocol.devices=1000000000"], "protocol.devices: expected at most 256"),
        (["dataset.image_size=1000000000"], "dataset.image_size: expected at most 8192"),
        (
            ["dataset.name=phantom", "dataset.phantom={train: 1000000000}"],
            "dataset.phantom.train, validation and test: expected at most 16777216 images of 16x16",
        ),
        (
            ["dataset.name=phantom", "dataset.phantom={classes: 1000, train: 4000000}"],
            "train, validation and test: expected at most 536870 images",
        ),
        (
            ["dataset.name=phantom", "dataset.phantom={classes: 1000, rotations: 360, shift: 7}"],
            "classes, rotations and shift: expected at most 16777216 images of 16x16 pixels",
        ),
    ],
)
def test_what_would_take_all_memory_is_told_in_a_line(changes, said):
    with pytest.raises(InputError) as caught:
        load_config(DIGITS, changes)
    text = str(caught.value)
    assert said in text
    assert "\n" not in text
    assert len(text) < 1000


def test_values_in_python():
    for values, said in (
        ({"seeds": [*range(10_001)]}, "seeds: expected at most 10000 of them"),
        ({"seeds": [10**5000]}, "seeds.0: expected less than 4294967296"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            checked(Experiment, values)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "vgg19", "small_residual_cnn"])
def test_networks_that_people_have_are_not_refused(name):
    wide = {"width": 4.0} if name in ("mobilenet_v2", "small_residual_cnn") else {}
    Backbone(name=name, head=(4096, 4096), **wide)


# --- functions ------------------------------------------------------------------------------------

LABELS = np.arange(40) % 2
PROBABILITIES = np.tile([[0.75, 0.25], [0.5, 0.5]], (20, 1))
PREDICTIONS = lsp.Predictions(LABELS, probabilities=PROBABILITIES)
COUNTS: dict[str, Callable[[int], Any]] = {
    "ece": lambda n: lsp.metrics.expected_calibration_error(LABELS, PROBABILITIES, num_bins=n),
    "bootstrap_interval": lambda n: lsp.metrics.bootstrap_interval(
        "accuracy", PREDICTIONS, num_resamples=n
    ),
    "audit": lambda n: lsp.audit(PREDICTIONS, num_resamples=n),
    "histogram": lambda n: lsp.calibrators.HistogramBinning(n_bins=n).fit(PREDICTIONS),
    "uniform_prior": lambda n: lsp.priors.uniform_prior(n),
    "calibration_curve": lambda n: lsp.metrics.calibration_curve(
        PREDICTIONS, positive="1", num_points=n
    ),
    "workers": lambda n: LocalProcesses(n),
}


@pytest.mark.parametrize("number", [10**8, 10**400, 10**5000, -1], ids=["8", "400", "5000", "-1"])
@pytest.mark.parametrize("call", COUNTS.values(), ids=COUNTS)
def test_counts_of_functions(call, number):
    begun = time.process_time()
    with pytest.raises(InputError) as caught:
        call(number)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert time.process_time() - begun < 1


def test_counts_that_nothing_is_allocated_for():
    assert check_count("k", 2**31 - 1) == 2**31 - 1
    with pytest.raises(InputError, match="k: expected an integer of at most 2147483647, rec"):
        check_count("k", 2**31)
    assert check_seed(2**64 - 1) == 2**64 - 1
