"""Calibrators against golden temperatures, scikit-learn's own classes, and restatements."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from lsplus_tf import calibrators, metrics
from lsplus_tf.calibrators import (
    CALIBRATORS,
    BiasCorrectedTemperature,
    Calibrator,
    ClassDistributionTemperature,
    DirichletCalibration,
    HistogramBinning,
    IsotonicCalibration,
    LabelShift,
    LogitNormalization,
    MatrixScaling,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
    WeightScaling,
    _optimise,
)
from lsplus_tf.calibrators.arrays import log_odds
from lsplus_tf.errors import InputError, MissingDataError

EVERY = pytest.mark.parametrize("name", CALIBRATORS)
KEEP_THE_CLASS = ("temperature", "weight", "logit_normalization")
NEED_EVERY_CLASS = (
    "bias_corrected_temperature",
    "vector",
    "matrix",
    "dirichlet",
    "platt",
    "isotonic",
    "histogram",
    "label_shift",
)


def overconfident(num_classes: int, samples: int = 600, seed: int = 0):
    """Logits three times too large, with classes of different frequency, and labels."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(samples, num_classes)) * 2 - 0.3 * np.arange(num_classes)
    labels = (honest + rng.gumbel(size=honest.shape)).argmax(axis=1)
    return 3 * honest, labels


@pytest.fixture(scope="module")
def golden(shared: Path):
    """Logits and labels of the synthetic sets, and the temperatures that were found for them."""
    text = (shared / "golden" / "golden_metrics.json").read_text(encoding="utf-8")
    temperatures = json.loads(text)["temperature_scaling"]["torch_originals"]
    with np.load(shared / "golden" / "golden_metrics.npz") as file:
        return temperatures, {name: file[name] for name in file.files}


def mean_nll(scores: np.ndarray, labels: np.ndarray) -> float:
    return -float(log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())


# --- temperature ----------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 0.2, 25.0])  # at 0.2 each is underconfident
@pytest.mark.parametrize("name", ["k2_n500", "k4_n2139", "k7_n1512"])
def test_temperature_is_the_golden_minimiser(golden, name, factor):
    temperatures, data = golden
    exact = temperatures[name]["reference_exact_minimiser_T"] * factor
    logits, labels = data[f"syn/{name}/logits"].astype(float), data[f"syn/{name}/labels"]
    fitted = TemperatureScaling().fit(logits * factor, labels)
    assert np.log(fitted.temperature_) == pytest.approx(np.log(exact), abs=1e-6)
    assert (exact < 1) == (factor == 0.2)


def test_temperature_is_scipys_minimiser_on_published_predictions(golden):
    data = golden[1]
    names = [name for name in data if name.startswith("pub/") and name.endswith("/logits")]
    assert len(names) >= 18
    labels = data["pub/labels"]
    found = []
    for name in names:
        logits = data[name].astype(float)

        def nll(log_t, logits=logits):
            return mean_nll(logits / np.exp(log_t), labels)

        exact = minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
        found.append(TemperatureScaling().fit(logits, labels).temperature_)
        assert np.log(found[-1]) == pytest.approx(exact.x, abs=1e-6)
    assert min(found) < 1 < max(found)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_temperature_stays_finite_where_none_is_best(size):
    labels = np.arange(30) % 3
    right = np.eye(3)[labels] * size * 5
    with pytest.warns(UserWarning, match="perfectly"):
        apart = TemperatureScaling().fit(right, labels)
    assert 0 < apart.temperature_ < size
    assert np.isfinite(np.log(apart.predict_proba(right))).all()
    with pytest.warns(UserWarning, match="nothing about the labels"):
        opposite = TemperatureScaling().fit(-right, labels)
    np.testing.assert_allclose(opposite.predict_proba(right), 1 / 3, atol=0.01)
    assert np.isfinite(opposite.temperature_)


@settings(deadline=None, max_examples=50)
@given(arrays(float, (8, 4), elements=st.floats(-30, 30)), st.floats(0.05, 20))
def test_temperature_never_changes_the_ranking(logits, temperature):
    scaling = TemperatureScaling()
    scaling.temperature_, scaling.n_classes_ = temperature, 4
    rows = np.arange(8)[:, None]
    ranked = scaling.predict_proba(logits)[rows, logits.argsort(axis=1)]
    assert (np.diff(ranked, axis=1) >= 0).all()


def test_class_distribution_temperature_is_its_formula():
    logits, labels = overconfident(4)
    temperature = TemperatureScaling().fit(logits, labels).temperature_
    counts = np.array([40.0, 20.0, 10.0, 0.0])
    fitted = ClassDistributionTemperature(counts, gamma=0.3).fit(logits, labels)
    expected = [temperature + 0.3 * share for share in (1, 0.5, 0.25, 0)]
    np.testing.assert_allclose(fitted.temperatures_, expected)
    np.testing.assert_allclose(
        fitted.predict_proba(logits), softmax(logits / np.array(expected), axis=1), atol=1e-14
    )
    from_labels = ClassDistributionTemperature().fit(logits, labels).temperatures_
    counted = np.array([(labels == k).sum() for k in range(4)])
    np.testing.assert_allclose(from_labels, temperature + 0.1 * counted / counted.max())


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"class_counts": [1, 2]}, r"class_counts: expected shape \(4,\)"),
        ({"class_counts": [0, 0, 0, 0]}, "class_counts: expected finite numbers >= 0, not all 0"),
        ({"class_counts": [1, 2, 3, -1]}, "class_counts"),
        ({"gamma": -0.1}, "gamma: expected a number >= 0"),
    ],
)
def test_class_distribution_temperature_refuses(settings_, message):
    with pytest.raises(InputError, match=message):
        ClassDistributionTemperature(**settings_).fit(*overconfident(4))


# --- vectors and matrices -------------------------------------------------------------------------


def test_vector_scaling_is_the_maximum_likelihood_of_another_optimiser():
    logits, labels = overconfident(3)

    def nll(parameters):
        return mean_nll(logits * parameters[:3] + parameters[3:], labels)

    exact = minimize(nll, np.r_[np.ones(3), np.zeros(3)], method="BFGS", options={"gtol": 1e-7}).x
    fitted = VectorScaling().fit(logits, labels)
    np.testing.assert_allclose(fitted.scale_, exact[:3], atol=2e-5)
    np.testing.assert_allclose(fitted.bias_, exact[3:] - exact[3:].mean(), atol=2e-4)


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize(
    ("calibrator", "features"),
    [(MatrixScaling, np.asarray), (DirichletCalibration, lambda z: log_softmax(z, axis=1))],
)
def test_without_penalties_it_is_scikit_learns_logistic_regression(
    calibrator, features, num_classes
):
    logits, labels = overconfident(num_classes)
    regression = LogisticRegression(C=np.inf, tol=1e-7, max_iter=20_000)
    regression.fit(features(logits), labels)
    ours = calibrator(off_diagonal_penalty=0, bias_penalty=0).fit(logits, labels)
    new, _ = overconfident(num_classes, seed=1)
    theirs = regression.predict_proba(features(new))
    np.testing.assert_allclose(ours.predict_proba(new), theirs, atol=5e-5)


@pytest.mark.parametrize(
    ("calibrator", "features"),
    [(MatrixScaling, np.asarray), (DirichletCalibration, lambda z: log_softmax(z, axis=1))],
)
def test_penalties_are_those_of_odir(calibrator, features):
    """No direction from the fitted parameters lowers the paper's objective, written out anew."""
    logits, labels = overconfident(4, samples=200)
    strong, weak = 3.0, 0.5
    fitted = calibrator(off_diagonal_penalty=strong, bias_penalty=weak).fit(logits, labels)
    rows = features(logits)

    def objective(weights, bias):
        off_diagonal = sum(weights[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
        penalty = strong * off_diagonal / (4 * 3) + weak * sum(b**2 for b in bias) / 4
        return mean_nll(rows @ weights.T + bias, labels) + penalty

    rng = np.random.default_rng(0)
    least = objective(fitted.weights_, fitted.bias_)
    for _ in range(20):
        weights, bias = rng.normal(size=(4, 4)), rng.normal(size=4)
        forth, back = (
            objective(fitted.weights_ + step * weights, fitted.bias_ + step * bias)
            for step in (1e-4, -1e-4)
        )
        assert min(forth, back) > least
        assert (forth - back) / 2e-4 == pytest.approx(0, abs=5e-6)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("calibrator", [VectorScaling, MatrixScaling, DirichletCalibration])
def test_classes_told_apart_perfectly_give_finite_parameters_and_a_warning(calibrator, size):
    labels = np.arange(60) % 3
    logits = np.eye(3)[labels] * 4 + np.random.default_rng(0).normal(size=(60, 3)) * 0.1
    with pytest.warns(UserWarning, match=f"{calibrator.__name__}: no parameters are the best"):
        fitted = calibrator().fit(logits * size, labels)
    probabilities = fitted.predict_proba(logits * size)
    assert np.isfinite(np.log(probabilities)).all()
    assert (probabilities.argmax(axis=1) == labels).all()


@pytest.mark.parametrize("samples", [19, 20])
def test_fewer_samples_than_parameters_are_told(samples):
    logits, labels = overconfident(4, samples=samples, seed=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MatrixScaling(1.0, bias_penalty=1.0).fit(logits, labels)
    told = [w for w in caught if "estimates 20 numbers from 19 samples" in str(w.message)]
    assert len(told) == (samples == 19)


@pytest.mark.parametrize("kind", [MatrixScaling, DirichletCalibration])
def test_penalties_that_were_chosen_are_not_advised_to_be_chosen(kind):
    logits, labels = overconfident(4, samples=19, seed=3)
    for penalties, advised in (({}, True), ({"bias_penalty": 1.0}, False)):
        with pytest.warns(UserWarning, match="estimates 20 numbers from 19 samples") as told:
            kind(**penalties).fit(logits, labels)
        assert any("choose these by cross-validation" in str(w.message) for w in told) == advised


def test_a_search_that_ends_too_early_is_told(monkeypatch):
    def stopped(*arguments, **options):
        return minimize(*arguments, **{**options, "options": {"maxiter": 1}})

    monkeypatch.setattr(_optimise, "minimize", stopped)
    with pytest.warns(ConvergenceWarning, match="VectorScaling: stopped where"):
        VectorScaling().fit(*overconfident(3))


def test_a_grid_search_of_scikit_learn_chooses_penalties():
    logits, labels = overconfident(3)
    grid = {"off_diagonal_penalty": [1e-3, 1.0]}
    search = GridSearchCV(MatrixScaling(), grid, scoring="neg_log_loss", cv=3, error_score="raise")
    search.fit(logits, labels)
    assert search.best_params_["off_diagonal_penalty"] in (1e-3, 1.0)
    assert search.best_score_ > -mean_nll(logits, labels)


# --- one class against the rest -------------------------------------------------------------------


class Decisions(ClassifierMixin, BaseEstimator):
    """A trained classifier whose log-odds are given to it."""

    def __init__(self, num_classes: int = 2) -> None:
        self.num_classes = num_classes
        self.classes_ = np.arange(num_classes)

    def fit(self, x, y):
        return self

    def predict(self, logits):
        return logits.argmax(axis=1)

    def decision_function(self, logits):
        rest = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in self.classes_]
        odds = logits - np.stack(rest, axis=1)
        return odds[:, 1] if self.num_classes == 2 else odds


class Softmax(ClassifierMixin, BaseEstimator):
    """A trained classifier of which only the probabilities are known."""

    def __init__(self, num_classes: int = 2) -> None:
        self.num_classes = num_classes
        self.classes_ = np.arange(num_classes)

    def fit(self, x, y):
        return self

    def predict(self, logits):
        return logits.argmax(axis=1)

    def predict_proba(self, logits):
        return softmax(logits, axis=1)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize(
    ("calibrator", "classifier", "method"),
    [(PlattScaling, Decisions, "sigmoid"), (IsotonicCalibration, Softmax, "isotonic")],
)
def test_it_is_scikit_learns_calibrated_classifier(calibrator, classifier, method, num_classes):
    logits, labels = overconfident(num_classes)
    theirs = CalibratedClassifierCV(FrozenEstimator(classifier(num_classes)), method=method)
    theirs.fit(logits, labels)
    ours = calibrator().fit(logits, labels)
    new, _ = overconfident(num_classes, seed=1)
    expected = theirs.predict_proba(np.concatenate([logits, new]))
    received = ours.predict_proba(np.concatenate([logits, new]))
    np.testing.assert_allclose(received, expected, atol=1e-6)


def test_isotonic_of_samples_that_are_all_alike():
    fitted = IsotonicCalibration().fit([[2.0, 0.0]] * 8, [0, 0, 0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(fitted.predict_proba([[1, 0], [-3, 3]]), [[0.75, 0.25]] * 2)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_histogram_binning_is_a_loop_over_bins(binning):
    logits, labels = overconfident(3, samples=300)
    before = softmax(logits, axis=1)
    fitted = HistogramBinning(n_bins=7, binning=binning).fit(logits, labels)
    expected = np.empty_like(before)
    for k in range(3):
        inner = [i / 7 for i in range(1, 7)]
        if binning == "equal_mass":
            inner = sorted({float(np.quantile(before[:, k], i)) for i in inner})
        edges = [-1.0, *inner, 2.0]
        for low, high in pairwise(edges):
            inside = (before[:, k] > low) & (before[:, k] <= high)
            if inside.any():
                expected[inside, k] = np.mean([label == k for label in labels[inside]])
    sums = expected.sum(axis=1, keepdims=True)
    assert (sums > 0).all()
    np.testing.assert_allclose(fitted.predict_proba(logits), expected / sums, atol=1e-12)


def test_an_empty_bin_gives_its_middle_and_a_row_without_any_share_is_uniform():
    logits = np.log([[0.9, 0.1], [0.8, 0.2]] * 3 + [[0.15, 0.85]])
    labels = [0, 0, 0, 0, 0, 0, 1]
    fitted = HistogramBinning(n_bins=4, binning="equal_width").fit(logits, labels)
    np.testing.assert_allclose(fitted.values_[0], [0, 0.375, 0.625, 1])
    fitted.values_ = [np.zeros(4), np.zeros(4)]
    np.testing.assert_allclose(fitted.predict_proba([[0.0, 3.0]]), [[0.5, 0.5]])


@pytest.mark.parametrize("name", ["histogram", "weight"])
@pytest.mark.parametrize(
    "settings_", [{"n_bins": 0}, {"n_bins": 2.5}, {"binning": "equal"}], ids=str
)
def test_bins_are_checked(name, settings_):
    with pytest.raises(InputError, match=next(iter(settings_))):
        CALIBRATORS[name](**settings_).fit(*overconfident(3))


def test_log_odds_are_exact_where_a_probability_rounds_to_one():
    logits = np.array([[800.0, 0.0, -5.0], [40.0, 40.0, -700.0], [0.1, 0.2, 0.3], [0, 0, -1e4]])
    expected = [
        [row[k] - logsumexp(np.delete(row, k).astype(np.longdouble)) for k in range(3)]
        for row in logits
    ]
    np.testing.assert_allclose(log_odds(logits, np), expected, rtol=1e-13, atol=1e-14)


# --- weights and norms ----------------------------------------------------------------------------


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_weight_scaling_gives_every_bin_the_confidence_of_its_accuracy(binning):
    logits, labels = overconfident(4)
    before, right = softmax(logits, axis=1), logits.argmax(axis=1) == labels
    fitted = WeightScaling(n_bins=5, binning=binning).fit(logits, labels)
    after = fitted.predict_proba(logits)
    confidence = before.max(axis=1)
    quantiles = np.quantile(confidence, [0.2, 0.4, 0.6, 0.8])
    inner = [0.2, 0.4, 0.6, 0.8] if binning == "equal_width" else quantiles
    edges = [0.0, *inner, 1.0]
    met = 0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any() and 0.25 < right[inside].mean() < confidence[inside].mean():
            met += 1
            assert after[inside].max(axis=1).mean() == pytest.approx(right[inside].mean())
        elif inside.any() and right[inside].mean() > confidence[inside].mean():
            np.testing.assert_array_equal(after[inside], before[inside])
    assert met >= 3
    weight = (after[:, :1] - 0.25) / (before[:, :1] - 0.25)  # the same for all of a row's classes
    np.testing.assert_allclose(after, weight * before + (1 - weight) / 4, atol=1e-12)


def test_weight_scaling_keeps_the_class_of_a_bin_that_is_worse_than_chance():
    logits = np.log([[0.2, 0.3, 0.5], [0.1, 0.2, 0.7]])
    fitted = WeightScaling(n_bins=1).fit(logits, [0, 0])
    assert fitted.weights_.tolist() == [1e-3]
    assert fitted.predict(logits).tolist() == [2, 2]
    np.testing.assert_allclose(fitted.predict_proba(logits), 1 / 3, atol=1e-3)


def smoothed(samples: int = 1500, num_classes: int = 6):
    """Logits as label smoothing leaves them: the larger the norm, the worse the prediction."""
    rng = np.random.default_rng(0)
    clean = rng.uniform(0, 1, samples)
    other = rng.normal(size=(samples, num_classes))
    logits = np.eye(num_classes)[0] * (1 + clean[:, None]) * 2 + (1.2 - clean[:, None]) * other
    labels = np.where(rng.uniform(size=samples) < 0.3 + 0.7 * clean, logits.argmax(axis=1), 1)
    return logits * (3 - 2 * clean[:, None]), labels


def test_logit_normalisation_takes_the_norm_with_the_least_area():
    logits, labels = smoothed()
    norms = (1, 2, 4, 8)
    fitted = LogitNormalization(norms).fit(logits, labels)
    wrong = logits.argmax(axis=1) != labels

    def area(scores):
        order = np.argsort(-scores)  # without ties
        return np.mean(np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1))

    centred = logits - logits.mean(axis=1, keepdims=True)
    scores = {
        p: (centred / np.linalg.norm(centred, ord=p, axis=1, keepdims=True)).max(axis=1)
        for p in norms
    }
    areas = {p: area(score) for p, score in scores.items()}
    best = min(areas, key=areas.get)
    assert fitted.norm_ == best
    assert areas[best] < area(softmax(logits, axis=1).max(axis=1)) - 0.01
    np.testing.assert_allclose(fitted.confidence(logits), scores[best], rtol=1e-12)
    unit = centred / np.linalg.norm(centred, ord=best, axis=1, keepdims=True)
    temperature = TemperatureScaling().fit(unit, labels).temperature_
    np.testing.assert_allclose(
        fitted.predict_proba(logits), softmax(unit / temperature, axis=1), atol=1e-9
    )
    # The probabilities rank better too, not only the score.
    assert metrics.aurc(labels, fitted.predict_proba(logits)) < metrics.aurc(
        labels, TemperatureScaling().fit(logits, labels).predict_proba(logits)
    )


def test_logit_normalisation_falls_back_to_the_softmax():
    logits, labels = overconfident(5)  # sampled from the softmax, whose confidence is the best
    fitted = LogitNormalization(norms=(1, 9)).fit(logits, labels)
    assert fitted.norm_ is None
    np.testing.assert_allclose(fitted.confidence(logits), softmax(logits, axis=1).max(axis=1))
    assert LogitNormalization().fit(*overconfident(2)).norm_ is None
    with pytest.raises(InputError, match=r"norms: expected numbers of at least 1, received 0\.5"):
        LogitNormalization(norms=(2, 0.5)).fit(logits, labels)


def test_logit_normalisation_of_equal_and_of_huge_logits():
    fitted = LogitNormalization().fit(*smoothed())
    assert fitted.norm_ is not None
    rows = np.array([[7.0] * 6, [1e200, 0, 0, 0, 0, 0], [1e-200, 0, 0, 0, 0, 0]])
    probabilities = fitted.predict_proba(rows)
    np.testing.assert_allclose(probabilities[0], 1 / 6)
    np.testing.assert_allclose(probabilities[1], probabilities[2])


# --- what all have in common ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return {name: kind().fit(*overconfident(4)) for name, kind in CALIBRATORS.items()}


@EVERY
@settings(deadline=None, max_examples=25)
@given(logits=arrays(float, (5, 4), elements=st.floats(-1e3, 1e3)))
def test_rows_are_distributions(fitted, name, logits):
    probabilities = fitted[name]._probabilities(logits, np)
    assert probabilities.dtype == np.float64
    assert (probabilities >= 0).all()
    assert (probabilities <= 1 + 1e-12).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("name", KEEP_THE_CLASS)
@settings(deadline=None, max_examples=25)
@given(logits=arrays(float, (5, 4), elements=st.floats(-30, 30)))
def test_the_predicted_class_is_kept(fitted, name, logits):
    probabilities = fitted[name]._probabilities(logits, np)
    kept = probabilities[np.arange(5), logits.argmax(axis=1)]
    np.testing.assert_allclose(kept, probabilities.max(axis=1), rtol=1e-12)


@EVERY
def test_classes_can_be_in_any_order(fitted, name):
    logits, labels = overconfident(4)
    order = np.array([2, 0, 3, 1])
    other = CALIBRATORS[name]().fit(logits[:, order], np.argsort(order)[labels])
    new, _ = overconfident(4, seed=1)
    np.testing.assert_allclose(
        other.predict_proba(new[:, order]), fitted[name].predict_proba(new)[:, order], atol=2e-5
    )


@EVERY
def test_a_constant_in_a_row_changes_nothing_where_it_is_said_so(fitted, name):
    new, _ = overconfident(4, seed=1)
    moved = fitted[name].predict_proba(new + np.linspace(-9, 9, len(new))[:, None])
    same = np.allclose(moved, fitted[name].predict_proba(new), atol=1e-9)
    assert same == CALIBRATORS[name].ignores_constants


@EVERY
def test_held_out_predictions_get_better(fitted, name):
    new, labels = overconfident(4, samples=4000, seed=1)
    before = metrics.brier_score(labels, new, from_logits=True)
    assert metrics.brier_score(labels, fitted[name].predict_proba(new)) < before - 0.01


@EVERY
def test_predictions_do_not_depend_on_the_dtype_and_inputs_stay_as_they_are(name):
    logits, labels = overconfident(3)
    single = logits.astype(np.float32)
    kept = single.copy()
    fitted = CALIBRATORS[name]().fit(single, labels[:, None])
    np.testing.assert_array_equal(
        fitted.predict_proba(single), fitted.predict_proba(single.astype(np.float64))
    )
    np.testing.assert_array_equal(single, kept)
    assert fitted.predict(single).shape == (600,)


@EVERY
def test_a_clone_has_the_settings_and_is_not_fitted(fitted, name):
    copy = clone(fitted[name])
    assert copy.get_params() == fitted[name].get_params()
    for use in (lambda: copy.predict_proba([[0.0, 1.0]]), copy.to_json):
        with pytest.raises(NotFittedError):
            use()


@EVERY
def test_what_is_refused(fitted, name):
    logits, labels = overconfident(4)
    kind = CALIBRATORS[name]
    refused = {
        "float16 or text": (logits.astype(str), labels, "real numbers"),
        "one row": (logits[0], labels, r"expected shape \(N, K\)"),
        "one class": (logits[:, :1], labels, r"expected shape \(N, K\).*np\.zeros_like\(z\), z"),
        "exchanged": (labels, logits, "logits come first, then labels: exchange the two"),
        "exchanged names": (labels.astype(str), logits, "exchange the two"),
        "no rows": (logits[:0], labels[:0], r"expected shape \(N, K\)"),
        "NaN": (np.where(logits == logits[3, 2], np.nan, logits), labels, r"nan at \[3, 2\]"),
        "infinity": (np.where(logits == logits[3, 2], np.inf, logits), labels, r"inf at \[3, 2\]"),
        "probabilities": (softmax(logits, axis=1), labels, "give their logarithms"),
        "a label too many": (logits, np.append(labels, 0), "labels: expected shape"),
        "a fifth class": (logits, np.where(labels == 0, 4, labels), "integers from 0 to 3"),
        "labels between": (logits, labels + 0.5, "labels: expected integers"),
    }
    for wrong, (z, y, message) in refused.items():
        with pytest.raises(InputError, match=message):
            kind().fit(z, y)
        if message.startswith(("labels", "integers")) or wrong.startswith("exchanged"):
            continue
        with pytest.raises(InputError, match=message):
            fitted[name].predict_proba(z)
        assert wrong
    with pytest.raises(InputError, match="expected 4 columns"):
        fitted[name].predict_proba(logits[:, :3])


@EVERY
def test_a_class_without_samples(name):
    logits, labels = overconfident(4)
    kept = labels != 2
    if name in NEED_EVERY_CLASS:
        with pytest.raises(InputError, match="received none of class 2; TemperatureScaling"):
            CALIBRATORS[name]().fit(logits[kept], labels[kept])
        return
    fitted = CALIBRATORS[name]().fit(logits[kept], labels[kept])
    assert (fitted.predict_proba(logits) > 0).all()


@pytest.mark.parametrize(
    ("calibrator", "needed"),
    [
        (TemperatureScaling(), 1),
        (ClassDistributionTemperature(), 1),
        (LogitNormalization(), 2),
        (BiasCorrectedTemperature(), 4),
        (LabelShift(), 4),
        (VectorScaling(), 6),
        (MatrixScaling(), 6),
        (MatrixScaling(off_diagonal_penalty=0), 12),
        (DirichletCalibration(), 6),
        (PlattScaling(), 6),
        (IsotonicCalibration(), 6),
        (HistogramBinning(n_bins=9), 9),
        (WeightScaling(n_bins=9), 9),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_too_few_samples(calibrator, needed):
    logits, labels = overconfident(3)
    first = [int(np.flatnonzero(labels == k)[0]) for k in range(3)]
    rows = np.r_[first, np.setdiff1d(np.arange(600), first)]
    calibrator.fit(logits[rows[:needed]], labels[rows[:needed]])
    if needed > 1:
        with pytest.raises(InputError, match=f"needs at least {needed} samples for 3 classes"):
            calibrator.fit(logits[rows[: needed - 1]], labels[rows[: needed - 1]])


def test_logits_of_pandas_are_taken_and_masked_ones_refused():
    logits, labels = overconfident(3)
    expected = TemperatureScaling().fit(logits, labels)
    frame = pd.DataFrame(logits).astype("Float64")
    assert TemperatureScaling().fit(frame, labels).temperature_ == expected.temperature_
    np.testing.assert_array_equal(expected.predict_proba(frame), expected.predict_proba(logits))
    masked = np.ma.masked_greater(logits, 5)
    for use in (expected.predict_proba, lambda z: TemperatureScaling().fit(z, labels)):
        with pytest.raises(InputError, match=r"logits: .* received masked ones"):
            use(masked)


def test_logits_that_tell_nothing_apart_are_refused():
    with pytest.raises(InputError, match="the same for every class"):
        TemperatureScaling().fit(np.full((9, 3), 2.0), np.arange(9) % 3)


# --- files ----------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_file_gives_the_same_probabilities(tmp_path, name, num_classes):
    logits, labels = overconfident(num_classes)
    fitted = CALIBRATORS[name]().fit(logits, labels)
    path = tmp_path / "new" / "calibrator.json"
    fitted.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["calibrator.json"]
    for kind in (Calibrator, CALIBRATORS[name]):
        loaded = kind.load(path)
        assert type(loaded) is CALIBRATORS[name]
        np.testing.assert_array_equal(loaded.predict_proba(logits), fitted.predict_proba(logits))
        assert loaded.to_json() == fitted.to_json()


def test_a_file_keeps_settings_given_as_arrays():
    calibrator = ClassDistributionTemperature(np.array([5, 3, 2]), gamma=np.float32(0.5))
    loaded = Calibrator.from_json(calibrator.fit(*overconfident(3)).to_json())
    assert loaded.get_params() == {"class_counts": [5, 3, 2], "gamma": 0.5}


def broken(**changes) -> str:
    document = json.loads(VectorScaling().fit(*overconfident(3)).to_json())
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00\x01",
        broken(format="other"),
        broken(version=3),
        broken(calibrator="unknown"),
        broken(settings={"unknown": 1}),
        broken(n_classes=4),
        broken(n_classes=1),
        broken(n_classes="K"),
        broken(fitted={}),
        broken(fitted={"scale_": [1, 1, 1], "bias_": "many"}),
        broken(fitted={"scale_": [1, 1, 1], "bias_": [float("nan"), 0, 0]}),
        broken(fitted={"scale_": [1, 1], "bias_": [0, 0]}),
    ],
)
def test_what_is_not_a_calibrators_file(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"file\.json: not a calibrator saved by lsplus_tf"):
        Calibrator.load(path)


def test_a_file_of_another_kind_and_none_at_all(tmp_path):
    VectorScaling().fit(*overconfident(3)).save(tmp_path / "vector.json")
    with pytest.raises(InputError, match="expected a TemperatureScaling, it is a VectorScaling"):
        TemperatureScaling.load(tmp_path / "vector.json")
    with pytest.raises(MissingDataError, match=r"none\.json: expected a calibrator, there is no"):
        Calibrator.load(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        Calibrator.load(tmp_path)
    for content in (b"name: mine", b"\xff\xfe"):
        (tmp_path / "mine.yaml").write_bytes(content)
        with pytest.raises(InputError, match=r"mine\.yaml: not a calibrator .*, which is JSON"):
            Calibrator.load(tmp_path / "mine.yaml")


def test_all_names_are_there():
    assert set(calibrators.__all__) <= set(dir(calibrators)) | {"CalibrationLayer", "attach"}


# --- files that no fit wrote ----------------------------------------------------------------------


def fitted_document(name):
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    logits = 2 * np.eye(3)[labels] + rng.normal(size=(90, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return json.loads(CALIBRATORS[name]().fit(logits, labels).to_json())


@pytest.mark.parametrize("name", sorted(CALIBRATORS))
def test_every_fitted_number_of_a_file_has_to_be_possible(name):
    document = fitted_document(name)
    Calibrator.from_json(json.dumps(document))
    for key, value in document["fitted"].items():
        for wrong in (
            -1 if key != "norm_" else -1.0,
            "1",
            True,
            [],
            {},
            [[1.0]],
            "Infinity",
            1e400,
        ):
            text = json.dumps(document | {"fitted": document["fitted"] | {key: wrong}})
            with pytest.raises(InputError, match="not a calibrator saved by lsplus_tf") as raised:
                Calibrator.from_json(text)
            assert "\n" not in str(raised.value)
        if value is not None and key != "norm_":
            text = json.dumps(document | {"fitted": document["fitted"] | {key: None}})
            with pytest.raises(InputError):
                Calibrator.from_json(text)


def test_no_document_of_another_form_is_a_calibrator():
    document = fitted_document("temperature")
    for other in (
        {"version": True},
        {"version": 3},
        {"n_classes": 10**30},
        {"n_classes": 10**9},
        {"n_classes": 2.0},
        {"n_classes": 0},
        {"note": "mine"},
        {"fitted": {"temperature_": 1.0, "bias_": 2.0}},
        {"fitted": {"temperature_": 10**400}},
        {"settings": {"x": 1}},
        {"settings": None},
        {"calibrator": ["temperature"]},
    ):
        with pytest.raises(InputError, match="not a calibrator saved by lsplus_tf"):
            Calibrator.from_json(json.dumps(document | other))
    for text in ("[" * 200_000, '{"a":' * 200_000, "NaN", "Infinity", "[]", "1", "9" * 5000):
        with pytest.raises(InputError, match="not a calibrator saved by lsplus_tf"):
            Calibrator.from_json(text)
