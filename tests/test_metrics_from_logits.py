"""Every metric takes logits where that is declared, and equals itself on their softmax."""

import dataclasses
import inspect

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

import lsplus_tf as lsp
from lsplus_tf import metrics
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import statistics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (60, 3))
OTHER_LOGITS = RNG.normal(0, 3, (60, 3))
LABELS = np.arange(60) % 3
VOTES = RNG.multinomial(5, [0.5, 0.3, 0.2], 60)

FUNCTIONS = {
    name: function
    for module in (metrics, statistics)
    for name in module.__all__
    if inspect.isfunction(function := getattr(module, name))
    and next(iter(inspect.signature(function).parameters)) != "logits"
    and any(p.startswith("probabilities") for p in inspect.signature(function).parameters)
}
NEEDED = {
    "metric": "accuracy",
    "votes": VOTES,
    "posterior": VOTES / 5,
    "labels": LABELS,
    "k": 2,
    "coverage": 0.5,
    "risk": 0.2,
    "positive": 1,
    "threshold": 0.3,
}


def call(function, logits, other, **options):
    given = {"probabilities": logits, "probabilities_a": logits, "probabilities_b": other}
    given |= NEEDED
    needed = {
        name: given[name]
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty
        or name.startswith("probabilities")
        or name in ("positive", "threshold")
    }
    return function(**needed, **options)


def numbers(result):
    """All numbers in a float, an array, a table, a record, a dict or nested tuples of them."""
    if isinstance(result, str):
        return []
    if isinstance(result, pd.DataFrame):
        result = tuple(result.select_dtypes("number").to_numpy().T)
    if dataclasses.is_dataclass(result):
        result = dataclasses.astuple(result)
    if isinstance(result, dict):
        result = tuple(result.values())
    parts = map(numbers, result) if isinstance(result, tuple) else [np.ravel(result)]
    return np.concatenate(list(parts))


def test_all_are_tested():
    assert len(FUNCTIONS) > 35


@pytest.mark.parametrize("name", FUNCTIONS)
def test_declared_logits_are_the_softmax(name):
    function = FUNCTIONS[name]
    rows = softmax(LOGITS, axis=1), softmax(OTHER_LOGITS, axis=1)
    expected = call(function, *rows)
    result = call(function, LOGITS, OTHER_LOGITS, from_logits=True)
    np.testing.assert_allclose(numbers(result), numbers(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_logits_are_never_guessed(name):
    with pytest.raises(InputError, match="from_logits=True"):
        call(FUNCTIONS[name], LOGITS, OTHER_LOGITS)
    with pytest.raises(InputError, match="from_logits: expected True or False, received 'yes'"):
        call(FUNCTIONS[name], LOGITS, OTHER_LOGITS, from_logits="yes")


def test_logits_that_are_not_finite():
    bad = LOGITS.copy()
    bad[4, 1] = np.inf
    with pytest.raises(InputError, match=r"logits: expected a finite number .*inf.* at row 4"):
        metrics.evaluate(LABELS, bad, from_logits=True)


@pytest.mark.parametrize("other", [None, np.nan, np.inf])
def test_logits_of_impossible_classes(other):
    """-inf is refused with the remedy, which has the same softmax; NaN and inf have none."""
    masked = LOGITS.astype(float)
    masked[1, 0] = -np.inf
    if other is not None:
        masked[2, 0] = other
    for call in (
        lambda z: metrics.evaluate(LABELS, z, from_logits=True),
        lambda z: metrics.softmax(z),
        lambda z: lsp.calibrators.TemperatureScaling().fit(z, LABELS),
    ):
        with pytest.raises(InputError, match=r"logits: expected .*finite") as caught:
            call(masked)
        assert ("np.maximum(logits, -1e4)" in str(caught.value)) == (other is None)
    if other is None:
        np.testing.assert_array_equal(
            metrics.softmax(np.maximum(masked, -1e4)), softmax(masked, axis=1)
        )


def test_large_logits_do_not_overflow():
    logits = np.array([[5000.0, 0.0], [0.0, 5000.0]], np.float32)
    assert metrics.accuracy([0, 1], logits, from_logits=True) == 1
    assert metrics.negative_log_likelihood([0, 1], logits, from_logits=True) == 0
    np.testing.assert_array_equal(logits, [[5000.0, 0.0], [0.0, 5000.0]])
