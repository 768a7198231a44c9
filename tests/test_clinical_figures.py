"""Figures of decision curves and of the probabilities per outcome, read back from their artists."""

import matplotlib as mpl
import numpy as np
import pytest
from scipy.special import softmax

mpl.use("agg")
import matplotlib.pyplot as plt

from lsplus_tf import metrics, plots
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Predictions


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def predictions(samples=200, classes=3, seed=0, **given):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(samples, classes))
    labels = rng.integers(classes, size=samples)
    logits[np.arange(samples), labels] += 2
    return Predictions(labels, softmax(logits, axis=1), **given)


def other_model(of, seed):
    """Another model of the same cases."""
    scores = np.random.default_rng(seed).dirichlet(np.ones(len(of.class_names)), len(of))
    return of.replace(probabilities=0.5 * of.probabilities + 0.5 * scores)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_decision_curves_are_drawn_with_their_bands():
    first = predictions(seed=0)
    second = other_model(first, 1)
    ax = plots.decision_curve({"HL": first, "LS": second}, positive=[0, 2])
    drawn = lines_of(ax)
    assert list(drawn) == ["HL", "LS", "Treat all", "Treat none"]
    bands = [band.get_datalim(ax.transData) for band in ax.collections]
    for run, name, band in zip((first, second), ("HL", "LS"), bands, strict=True):
        curve = metrics.decision_curve(run, positive=[0, 2])
        np.testing.assert_allclose(drawn[name].get_xdata(), curve["threshold"])
        np.testing.assert_allclose(drawn[name].get_ydata(), curve["net_benefit"])
        assert (band.y0, band.y1) == pytest.approx((curve["low"].min(), curve["high"].max()))
    treat_all = metrics.decision_curve(first, positive=[0, 2])["treat_all"]
    np.testing.assert_allclose(drawn["Treat all"].get_ydata(), treat_all)
    assert ax.get_ylim()[0] == pytest.approx(-0.05)
    share = np.mean(first.labels != 1)
    assert share < ax.get_ylim()[1] < 1.2 * share
    assert "0 or 2" in ax.get_xlabel()


def test_of_several_seeds_the_mean_and_the_range_are_drawn():
    runs = [other_model(predictions(), seed) for seed in range(3)]
    thresholds = [0.4, 0.2, 0.3]
    ax = plots.decision_curve(
        {"HL": runs}, positive=1, thresholds=thresholds, prevalence=0.02, interval=0.5
    )
    each = np.stack(
        [
            metrics.decision_curve(run, positive=1, thresholds=sorted(thresholds), prevalence=0.02)[
                "net_benefit"
            ]
            for run in runs
        ]
    )
    np.testing.assert_allclose(lines_of(ax)["HL"].get_ydata(), each.mean(axis=0))
    band = ax.collections[0].get_datalim(ax.transData)
    assert (band.y0, band.y1) == pytest.approx((each.min(), each.max()))
    assert ax.get_xlim() == (0.2, 0.4)
    assert ax.get_ylim()[0] == pytest.approx(-0.02 / 3)
    with pytest.raises(InputError, match="positive: expected"):
        plots.decision_curve({"HL": runs}, positive="mel")
    with pytest.raises(InputError, match="predictions: expected a mapping"):
        plots.decision_curve(runs, positive=1)


def heights(panel):
    """The squared heights upwards and downwards: the shares."""
    return [patch.get_data().values ** 2 for patch in panel.patches]


def test_one_class_has_one_panel():
    weights = np.arange(200) % 3
    run = predictions(sample_weight=weights)
    ax = plots.probability_distributions(run, positive=[1, 2])
    inside = run.labels > 0
    probability = run.probabilities[:, 1:].sum(axis=1)
    for members, drawn in zip((inside, ~inside), heights(ax), strict=True):
        bins = np.minimum((probability[members] * 25).astype(int), 24)
        expected = np.bincount(bins, weights[members], 25) / weights[members].sum()
        np.testing.assert_allclose(drawn, expected, atol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"1 or 2 (n = {(inside & (weights > 0)).sum()})",  # a case of weight 0 is not there
        f"Others (n = {(~inside & (weights > 0)).sum()})",
    ]
    low, high = ax.get_ylim()
    assert low == -high


def test_each_class_has_a_panel_on_the_same_scale():
    run = predictions(classes=5, class_names=["nv", "mel", "bkl", "bcc", "vasc"])
    ax = plots.probability_distributions(run)
    panels = ax.child_axes
    assert [panel.get_title() for panel in panels] == [
        f"{name}\nn = {count} and {200 - count}"
        for name, count in zip(run.class_names, run.class_counts, strict=True)
    ]
    assert len({(panel.get_xlim(), panel.get_ylim()) for panel in panels}) == 1
    for j, panel in enumerate(panels):
        upwards, downwards = heights(panel)
        alone = plots.probability_distributions(run, positive=j)
        np.testing.assert_allclose([upwards, downwards], heights(alone))
        assert upwards.sum() == pytest.approx(1)


def test_of_many_classes_those_are_shown_that_are_told_apart_least():
    run = predictions(600, 20)
    labels = np.where(run.labels == 7, 8, run.labels)  # of class 7 there is no case
    logits = np.array(run.logits)
    logits[:, 3] = 0  # which says nothing of class 3
    given = Predictions(labels, logits=logits)
    raised = []
    for j in range(20):
        inside = labels == j
        column = given.probabilities[:, j]
        raised.append(column[inside].mean() - column[~inside].mean() if inside.any() else np.inf)
    ax = plots.probability_distributions(given)
    titles = [panel.get_title().partition("\n")[0] for panel in ax.child_axes]
    assert titles == [str(j) for j in sorted(np.argsort(raised)[:12])]
    assert "3" in titles
    assert "7" not in titles
    assert ax.get_legend().get_title().get_text() == (
        "The 12 of 20 classes that the model separates least"
    )


def test_a_figure_of_decision_curves_has_one_kind_of_band():
    single = predictions()
    seeds = [other_model(single, seed) for seed in (1, 2)]
    assert len(plots.decision_curve({"LS": single}, positive=1).collections) == 1
    for shown in ({"HL": seeds, "LS": single}, {"LS": single, "HL": seeds}):
        (band,) = plots.decision_curve(shown, positive=1).collections
        curves = [metrics.decision_curve(run, positive=1)["net_benefit"] for run in seeds]
        ends = band.get_datalim(band.axes.transData)
        assert (ends.y0, ends.y1) == pytest.approx((np.min(curves), np.max(curves)))


def test_decision_curves_are_of_the_same_cases():
    first = predictions()
    refused = {
        "200": predictions(samples=100),
        "labels": predictions(seed=1),
        "class": predictions(classes=4),
    }
    for message, other in refused.items():
        for given in (other, [first, other]):
            with pytest.raises(InputError, match=rf"(?s)^predictions\['b'\].*({message})"):
                plots.decision_curve({"a": first, "b": given}, positive=1)
    weights = np.linspace(1, 2, 200)
    one, other = predictions(sample_weight=weights), predictions(sample_weight=weights[::-1])
    with pytest.raises(InputError, match="sample_weight: expected the weights of predictions"):
        plots.decision_curve({"a": one, "b": other}, positive=1)


def test_decision_curves_of_a_class_without_cases_are_refused():
    model = predictions()
    absent = model.replace(labels=model.labels % 2)
    for prevalence in (None, 0.1):
        with pytest.raises(InputError, match="positive: expected a class that has cases"):
            plots.decision_curve({"HL": absent}, positive=2, prevalence=prevalence)
    with pytest.raises(InputError, match="prevalence: expected cases that are not of 0 or 1"):
        plots.decision_curve({"HL": absent}, positive=[0, 1], prevalence=0.1)


def test_of_many_classes_the_least_covered_are_drawn():
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 100
    inside = rng.random((3000, 100)) < np.linspace(0.5, 1, 100)
    table = metrics.set_coverage(labels, inside)
    ax = plots.coverage_by_class({"LAC": table, "APS": table}, error_rate=0.1)
    assert ax.figure.get_figheight() < 20
    names = [label.get_text() for label in ax.get_yticklabels()]
    classes = table[table["by"] == "class"].set_index("part")["coverage"]
    assert names[0] == "all"
    assert len(names) == 41
    assert names[1:] == sorted(names[1:], key=int)
    assert classes[names[1:]].max() <= classes.drop(names[1:]).min()
    assert "40 of 100" in ax.get_ylabel()


def test_small_probabilities_are_binned_by_their_logarithm():
    rng = np.random.default_rng(0)
    rows = softmax(0.5 * rng.normal(size=(3000, 40)), axis=1)
    rows[0] = [1, *np.zeros(39)]
    labels = np.arange(3000) % 40
    ax = plots.probability_distributions(labels, rows)
    assert {panel.get_xscale() for panel in ax.child_axes} == {"log"}
    for panel in ax.child_axes:
        upwards, downwards = heights(panel)
        assert (upwards.sum(), downwards.sum()) == pytest.approx((1, 1))
        assert np.count_nonzero(upwards > 0.02) > 3
    alone = plots.probability_distributions(labels, rows, positive=0)
    place = (np.log10(rows[:, 0].clip(1e-4, 1)) + 4) / 4 * 25
    bins = np.bincount(np.minimum(place.astype(int), 24)[labels == 0], minlength=25)
    np.testing.assert_allclose(heights(alone)[0], bins / bins.sum(), atol=1e-12)
    assert plots.probability_distributions(labels, rows, positive=[*range(30)]).get_xscale() == (
        "linear"
    )
