"""Questions of a config that a report answers, as tests about methods."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from helpers import DIGITS, made_up_runs
from scipy import stats

import lsplus_tf as lsp
from lsplus_tf import metrics
from lsplus_tf.auditing import parse_condition
from lsplus_tf.config import Experiment, Question, load_config, load_grid, parse_config, to_yaml
from lsplus_tf.config.questions import OF_FEATURES, QuestionMetric
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run
from lsplus_tf.metrics import METRICS, compare_methods
from lsplus_tf.page import Table
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import JoinedReport, Report, Results, gather, gather_grid
from lsplus_tf.results.features import MEASURES
from lsplus_tf.results.questions import answers_in_words, questions_section
from lsplus_tf.training import run_folder

HARD, SMOOTH, PLUS = "hard_labels", "label_smoothing", "ls_plus"
SEEDS = {HARD: 5, SMOOTH: 4, PLUS: 5}
IMAGES, CLASSES = 240, 4


def question(better: str, than: list[str], asked: list[str], **more: Any) -> dict[str, Any]:
    return {"better": better, "than": than, "metrics": asked, **more}


def experiment(questions: dict[str, Any] | None, *changes: str, **values: Any) -> Experiment:
    start = load_config(DIGITS, ["seeds=[0,1,2,3,4]", *changes]).model_dump(mode="json")
    del start["methods"]["online_label_smoothing"]
    start |= {"features": 24, "questions": questions, **values}
    return parse_config(start, "the test's")


def write_runs(of_config: Experiment, folder: Path, classes: int = CLASSES) -> None:
    """Finished runs: LS+ is right and sure more often, in groups of images that go together."""
    made_up_runs(of_config, folder, classes)
    rng = np.random.default_rng(1)
    labels = rng.integers(classes, size=IMAGES)
    images = rng.normal(size=(IMAGES, classes))  # what all runs find difficult
    kept = np.repeat(np.arange(classes), 24 // classes)
    for method, factor, signal in ((HARD, 4, 1.0), (SMOOTH, 1.2, 1.0), (PLUS, 1, 2.5)):
        for seed in of_config.seeds:
            own = rng.normal(size=images.shape)
            own += (signal + 0.3 * rng.normal()) * np.eye(classes)[labels]
            run = Run(method, seed).folder(folder)
            if method not in of_config.methods or seed >= SEEDS[method]:
                shutil.rmtree(run, ignore_errors=True)
                continue
            found = Predictions(
                labels,
                logits=(factor * (images + own)).astype(np.float32),
                ids=np.arange(IMAGES).astype(str),
                class_names=[f"c{k}" for k in range(classes)],
                groups=np.arange(IMAGES) // 3,
            )
            run_folder.write_predictions(run, "test", found)
            centres = (1 + (method == PLUS)) * np.eye(classes, 5)[kept]
            features = centres + 0.3 * rng.normal(size=centres.shape)
            ids = np.arange(24).astype(str)
            run_folder.write_features(
                run, run_folder.Features(features.astype(np.float32), kept, ids)
            )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("questions") / "runs"
    write_runs(experiment(None), folder)
    return gather(folder)


def asking(results: Results, **questions: dict[str, Any]) -> Report:
    """The report of the same runs with these questions."""
    values = results.experiment.model_dump(mode="json") | {"questions": questions}
    return Report(dataclasses.replace(results, experiment=parse_config(values, "the test's")))


def runs_of(results: Results, *methods: str) -> dict[str, list[Predictions]]:
    rows = {row.key: row for row in results.rows}
    return {method: results.predictions(rows[method]) for method in methods}


def holm_by_hand(p_values: list[float]) -> list[float]:
    """The smallest p times how many there are, the next times one less ..., never falling."""
    corrected: dict[int, float] = {}
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = largest
    return [corrected[place] for place in range(len(p_values))]


# --- the answers ----------------------------------------------------------------------------------

DIRECTED = [key for key, record in METRICS.items() if record.better and key != "top5_error"]


@pytest.mark.parametrize("metric", DIRECTED)
def test_a_question_in_one_metric_is_compare_methods(results, metric):
    (answer,) = asking(results, q=question(PLUS, [HARD], [metric])).answers
    expected = compare_methods(runs_of(results, HARD, PLUS), metrics=[metric])
    found = answer.tests
    assert [*found] == [
        *("question", "metric", "method", "baseline", "mean", "baseline_mean"),
        *expected.columns[3:],
    ]
    pd.testing.assert_frame_equal(found[[*expected]], expected, rtol=1e-9, atol=1e-12)
    means = {
        method: np.mean([METRICS[metric].value(run, "standard") for run in each])
        for method, each in runs_of(results, PLUS, HARD).items()
    }
    assert found["mean"][0] == pytest.approx(means[PLUS], rel=1e-12)
    assert found["baseline_mean"][0] == pytest.approx(means[HARD], rel=1e-12)


def test_a_question_is_one_family_of_all_its_rows_and_metrics(results):
    asked = ["ece", "nll", "top2_error"]
    (answer, alone) = asking(
        results,
        all=question(PLUS, [SMOOTH, HARD], asked),
        alone=question(PLUS, [HARD], ["nll"]),
    ).answers
    table = answer.tests
    pairs = [(m, b) for m in asked for b in (SMOOTH, HARD)]
    assert [*zip(table["metric"], table["baseline"], strict=True)] == pairs
    for (metric, baseline), p in zip(pairs, table["p"], strict=True):
        single = compare_methods(runs_of(results, baseline, PLUS), metrics=[metric])
        assert p == pytest.approx(single["p"][0], rel=1e-9)
    np.testing.assert_allclose(table["p_holm"], holm_by_hand([*table["p"]]), rtol=1e-12)
    # Another question is another family.
    assert alone.tests["p"][0] == table["p"][3]
    assert alone.tests["p_holm"][0] == alone.tests["p"][0] < table["p_holm"][3]
    assert [*table["seeds"], *table["baseline_seeds"]] == [5] * 6 + [4, 5] * 3
    assert (table["question"] == "all").all()


def test_measures_of_features_are_compared_by_welchs_test(results):
    report = asking(results, q=question(PLUS, [HARD, SMOOTH], [*OF_FEATURES, "ece"]))
    table, runs = report.answers[0].tests, report.compactness.runs
    p_values = []
    for row in table[table["metric"].isin(OF_FEATURES)].to_dict("records"):
        of_rows = [
            runs.loc[runs["method"] == row[which], row["metric"]]
            for which in ("method", "baseline")
        ]
        expected = stats.ttest_ind(*of_rows, equal_var=False)
        bounds = expected.confidence_interval()
        p_values.append(expected.pvalue)
        assert row["difference"] == pytest.approx(np.mean(of_rows[0]) - np.mean(of_rows[1]))
        assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)
        assert (row["low"], row["high"]) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
        assert (row["seeds"], row["baseline_seeds"]) == (5, SEEDS[row["baseline"]])
    # One family with the test images' metric.
    np.testing.assert_allclose(
        table["p_holm"], holm_by_hand([*p_values, *table["p"][-2:]]), rtol=1e-6
    )
    # LS+'s classes lie twice as far apart: less variance within, a larger silhouette.
    assert (table["verdict"][:4] == "better").all()
    assert (table["difference"][:2] < 0).all()
    assert (table["difference"][2:4] > 0).all()


def test_rows_of_the_same_networks_are_compared_seed_by_seed(reproduced):
    found = gather(reproduced.folder)
    calibrated = found.experiment.model_copy(update={"calibrators": ("temperature",)})
    results = dataclasses.replace(found, experiment=calibrated)
    key = f"{SMOOTH}+temperature"
    report = asking(
        results, same=question(key, [SMOOTH], ["nll"]), other=question(key, [HARD], ["nll"])
    )
    for answer, paired in zip(report.answers, (True, False), strict=True):
        control = answer.tests["baseline"][0]
        runs = runs_of(report.results, control, key)
        expected = compare_methods(runs, metrics=["nll"], paired_seeds=paired)
        pd.testing.assert_frame_equal(answer.tests[[*expected]], expected, rtol=1e-9)


def test_the_report_resamples_once_for_table_and_questions(results, monkeypatch):
    from lsplus_tf.results import uncertainty

    called, measure_runs = [], uncertainty.measure_runs

    def watched(keys, *rest):
        called.append([*keys])
        return measure_runs(keys, *rest)

    monkeypatch.setattr(uncertainty, "measure_runs", watched)
    report = asking(results, q=question(PLUS, [HARD], ["ece", "top2_error", "silhouette"]))
    assert len(report.answers[0].tests) == 3
    # What is asked beside the table's metrics gets into no table.
    measured = {metric for _, metric in report.uncertainty.intervals}
    assert measured == {metric for _, metric in report.uncertainty.differences}
    assert measured == {"accuracy", "auroc", "ece", "nll", "brier"}
    assert called == [["accuracy", "auroc", "ece", "nll", "brier", "top2_error"]]
    difference = report.uncertainty.differences[PLUS, "ece"]
    assert difference.p == report.answers[0].tests["p"][0]


# --- where nothing can be said --------------------------------------------------------------------


def test_rows_without_runs_are_named(results, tmp_path):
    asked = question(PLUS, [HARD, SMOOTH], ["ece", "silhouette"])
    report = asking(results, q=asked, other=question(SMOOTH, [HARD], ["ece"]))
    some = gather(results.folder, methods=[HARD, PLUS])
    chosen = dataclasses.replace(some, experiment=report.results.experiment)
    answer, other = Report(chosen).answers
    there, missing, *_ = answer.tests.to_dict("records")
    assert missing["note"] == "no finished run of label_smoothing in this report"
    assert (missing["verdict"], missing["baseline_seeds"]) == ("undecided", 0)
    assert np.isnan([missing[key] for key in ("baseline_mean", "difference", "p", "p_holm")]).all()
    assert (there["note"], there["verdict"]) == ("", "better")
    # The family is of what is tested.
    tested = answer.tests[answer.tests["p"].notna()]
    np.testing.assert_allclose(tested["p_holm"], holm_by_hand([*tested["p"]]), rtol=1e-12)
    lines = [each.text for each in answers_in_words([answer, other])]
    assert "2 of 4 not tested (no finished run of label_smoothing in this report)" in lines[0]
    assert lines[1].endswith(" LS: not tested (no finished run of label_smoothing in this report).")


def test_runs_that_kept_no_features_are_named(results, tmp_path):
    copy = tmp_path / "runs"
    shutil.copytree(results.folder, copy)
    for seed in range(5):
        folder = Run(HARD, seed).folder(copy)
        (folder / run_folder.FEATURES).unlink()
        if seed:
            (Run(SMOOTH, seed).folder(copy) / run_folder.FEATURES).unlink(missing_ok=True)
    report = asking(gather(copy), q=question(PLUS, [HARD, SMOOTH], ["silhouette"]))
    notes = [*report.answers[0].tests["note"]]
    assert notes[0] == "no features of hard_labels"
    assert notes[1] == "one run of label_smoothing: nothing can be said of the method"
    assert [*report.answers[0].tests["baseline_seeds"]] == [0, 1]


@pytest.mark.parametrize("metric", ["nll", "silhouette"])
def test_one_seed_says_nothing(results, metric):
    chosen = gather(results.folder, seeds=[1])
    report = asking(chosen, q=question(PLUS, [HARD], [metric]))
    (row,) = report.answers[0].tests.to_dict("records")
    assert np.isnan(row["p"])
    assert not np.isnan(row["difference"])
    assert row["note"].startswith("one run of ls_plus and of hard_labels")


def test_top_2_of_two_classes_says_nothing(tmp_path):
    write_runs(experiment(None), tmp_path / "runs", classes=2)
    asked = question(PLUS, [HARD], ["top2_error", "nll", "top5_error"])
    report = asking(gather(tmp_path / "runs"), q=asked)
    table = report.answers[0].tests
    assert [*table["difference"][[0, 2]]] == [0, 0]
    assert [*np.isnan(table["p"])] == [True, False, True]
    assert table["note"][0] == "top2_error of 2 classes is the same for all predictions"
    # It costs the others no correction.
    assert table["p_holm"][1] == table["p"][1]
    runs = runs_of(report.results, HARD, PLUS)
    compared = compare_methods(runs, metrics=["top2_error", "nll", "top5_error"])
    pd.testing.assert_frame_equal(table[[*compared]], compared, rtol=1e-9)


# --- in words -------------------------------------------------------------------------------------


def test_the_page_and_the_summary(results):
    report = asking(
        results,
        calibrates=question(PLUS, [HARD, SMOOTH], ["nll", "silhouette"], asks="Does LS+\n<calm>? "),
        wrong=question(HARD, [SMOOTH], ["ece", "nll"]),
    )
    first, second = report.answers
    assert [answer.heading for answer in report.answers] == [
        "Does LS+ <calm>?",
        "Is HL better than LS in ECE and NLL?",
    ]
    assert (first.tests["verdict"] == "better").all()
    table, other, _ = questions_section(report.answers)
    assert isinstance(table, Table)
    assert (table.caption, other.caption) == (first.heading, second.heading)
    row = first.tests.to_dict("records")[0]
    cells = [getattr(cell, "text", cell) for cell in table.rows[0]]
    assert cells[:4] == [
        "NLL ↓", "HL", f"{100 * row['mean']:.2f}", f"{100 * row['baseline_mean']:.2f}",
    ]  # fmt: skip
    bounds = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    assert cells[4] == f"{100 * row['difference']:+.2f} {bounds}"
    assert cells[6] == "shown better"
    for of_test, cells in zip(second.tests.to_dict("records"), other.rows, strict=True):
        assert of_test["verdict"] in ("worse", "undecided")
        if of_test["verdict"] == "worse":
            assert cells[6] == "shown worse"
    lines = answers_in_words(report.answers)
    assert lines[0].text == (
        "Does LS+ <calm>? LS+: shown better than HL in NLL and Silhouette, than LS in NLL and "
        "Silhouette."
    )
    assert lines[0].tone == "fact"


def test_what_would_decide():
    from lsplus_tf.results.questions import _verdict

    test = {"p": 0.2, "verdict": "undecided", "difference": 0.1, "seeds_needed": 12.0}
    assert _verdict(test) == "cannot be told apart: 12 seeds of each would decide"
    assert _verdict(test | {"seeds_needed": np.inf}) == (
        "cannot be told apart: it would take more images"
    )
    assert _verdict(test | {"difference": 0.0}) == "cannot be told apart"


# --- the config -----------------------------------------------------------------------------------


def test_the_metrics_are_those_with_a_direction_and_those_of_features():
    directed = {key for key, record in METRICS.items() if record.better}
    assert set(get_args(QuestionMetric)) == directed | set(OF_FEATURES)
    assert tuple(MEASURES) == OF_FEATURES
    assert len(get_args(QuestionMetric)) == len(directed) + 2


def test_questions_change_no_run():
    plain, asks = experiment(None), experiment({"q": question(PLUS, [HARD], ["ece"])})
    assert plain.shared_settings() == asks.shared_settings()
    assert plain.run_settings(PLUS, 1) == asks.run_settings(PLUS, 1)
    assert plain.all_settings() != asks.all_settings()
    assert asks.questions == {"q": Question(better=PLUS, than=(HARD,), metrics=("ece",))}
    assert load_config(DIGITS).questions is None


GOOD = question(PLUS, [HARD], ["ece"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"better": "ls_pluss"},
            r"questions\.q\.better: expected one of hard_l.* 'ls_pluss'",
        ),
        ({"than": [HARD, "foc\nal"]}, r"questions\.q\.than: expected one of .* 'foc\\nal'"),
        ({"than": ["ls_plus+vector"]}, r"q\.than: expected .*METHOD\+temperature, received 'ls_pl"),
        ({"than": ["hard_labels+"]}, r"questions\.q\.than: expected one of"),
        (
            {"than": [PLUS]},
            r"questions\.q\.than: expected other rows than better, received 'ls_",
        ),
        ({"than": [HARD, HARD]}, r"questions\.q\.than: expected different names, received 'har"),
        ({"than": ["a\nb", "a\nb"]}, r"than: expected different names, received 'a\\nb' twice"),
        ({"than": []}, r"questions\.q\.than: expected at least one"),
        ({"than": HARD}, r"questions\.q\.than: expected a list, received 'hard_labels'"),
        ({"metrics": []}, r"questions\.q\.metrics: expected at least one"),
        ({"metrics": ["ece", "ece"]}, r"questions\.q\.metrics: expected different names, rec"),
        ({"metrics": ["mean_confidence"]}, r"q\.metrics\.0: expected 'accuracy', .* 'mean_confid"),
        ({"metrics": ["eec"]}, r"questions\.q\.metrics\.0: expected 'accuracy', .*received 'eec'"),
        ({"asks": ""}, r"questions\.q\.asks: "),
        ({"ask": "Is it?"}, r"questions\.q\.ask: unknown key, did you mean 'asks'"),
        (
            {"than": ["hard_labels_ensemble"]},
            r"questions\.q\.than: expected METHOD or .* 'hard_labels_ensemble': an ensemble is a s",
        ),
        ({"than": ["hard_labels_ensemble+temperature"]}, "an ensemble is a single prediction"),
        ({"better": "ls_plus+temperature_ensemble"}, "an ensemble is a single prediction"),
        (
            {"metrics": ["ece", "silhouette"], "than": ["ls_plus+temperature"]},
            r"questions\.q\.metrics: expected rows of different networks beside silhouette, rec",
        ),
    ],
)
def test_what_is_refused(change, message):
    options = {"calibrators": ["temperature"], "ensembles": [HARD, PLUS]}
    assert experiment({"q": GOOD}, **options).questions
    with pytest.raises(InputError, match=message) as caught:
        experiment({"q": GOOD | change}, **options)
    assert "\n" not in str(caught.value)


def test_measures_of_features_need_features():
    asked = {"q": question(PLUS, [HARD], ["nll", "within_class_share"])}
    assert experiment(asked).questions
    message = r"questions\.q\.metrics: expected features, .* beside within_class_share"
    with pytest.raises(InputError, match=message):
        experiment(asked, features=None)


@pytest.mark.parametrize("name", ["Q", "my question", "1st"])
def test_names_of_questions(name):
    with pytest.raises(InputError, match=r"questions.*expected a name of small letters"):
        experiment({name: GOOD})


def test_a_row_may_be_calibrated_optional_or_called_like_an_ensemble():
    methods = {"hard_labels": {"loss": "hard_labels"}, "my_ensemble": {"loss": "focal"}}
    found = experiment(
        {"q": question("my_ensemble+vector", ["hard_labels", "my_ensemble"], ["ece"])},
        methods=methods,
        calibrators=["vector"],
        optional_methods=["my_ensemble"],
    )
    assert found.questions["q"].better == "my_ensemble+vector"


def test_every_experiment_of_a_grid_may_have_them(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        "name: g\nevery:\n  questions:\n"
        "    q: {better: ls_plus, than: [hard_labels], metrics: [ece]}\n"
        "grid:\n  a: {config: digits}\n  b: {config: digits, questions: null}\n"
        "  c: {config: digits, questions: {q: {metrics: [nll]}}}\n"
    )
    experiments = load_grid(path).experiments
    assert experiments["a"].questions == {"q": Question(**GOOD)}
    assert experiments["b"].questions is None
    assert experiments["c"].questions["q"].metrics == ("nll",)


# --- reports --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_the_report_of_a_finished_experiment(reproduced, tmp_path, call):
    copy = tmp_path / "runs"
    shutil.copytree(reproduced.folder, copy, ignore=shutil.ignore_patterns("*.keras"))
    asked = question("online_label_smoothing", [SMOOTH, HARD], ["top1_error", "top2_error", "ece"])
    values = gather(copy).experiment.model_dump(mode="json")
    of_config = parse_config(values | {"questions": {"ols": asked}}, "the test's")
    (copy / "experiment.yaml").write_text(to_yaml(of_config))
    ended = call("report", copy)
    assert ended.code == 0, ended.stderr
    line = "Is OLS better than LS and HL in Top-1 error, Top-2 error and ECE? OLS: "
    assert line in ended.stdout
    assert ended.stdout.index("ECE ↓") < ended.stdout.index(line)
    stored = pd.read_csv(copy / "report" / "questions.csv", keep_default_na=False)
    (answer,) = Report(gather(copy)).answers
    assert [*stored["metric"]] == [*answer.tests["metric"]]
    np.testing.assert_allclose(stored["p"].astype(float), answer.tests["p"])
    page = (copy / "report" / "report.html").read_text(encoding="utf-8")
    assert ">Questions<" in page
    assert line in page


@pytest.mark.usefixtures("without_pictures")
def test_a_grid_joins_them(tmp_path):
    asked = {"q": question(PLUS, [HARD], ["ece", "nll"])}
    parts = {"a": experiment(asked), "b": experiment(None), "c": experiment(asked)}
    for key, part in parts.items():
        write_runs(part, tmp_path / key)
    from lsplus_tf.config import Grid

    (tmp_path / "grid.yaml").write_text(Grid("g", parts).to_yaml())
    joined = JoinedReport(gather_grid(tmp_path))
    for _ in range(2):  # anew
        written = {path.name for path in joined.write()}
    files = {"table.md", "table.csv", "questions.csv", "experiments.png", "report.html"}
    assert written == files
    table = pd.read_csv(tmp_path / "report" / "questions.csv", keep_default_na=False)
    assert [*table.columns[:3]] == ["experiment", "question", "metric"]
    assert [*table["experiment"]] == ["a", "a", "c", "c"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    # In the summary, with the experiment, and in its own section.
    asked = "Is LS+ better than HL in ECE and NLL?"
    assert [page.count(f"{key}: {asked}") for key in parts] == [1, 0, 1]
    assert page.count(asked) == 4


# --- top-2 error ----------------------------------------------------------------------------------


def test_top_2_error_is_a_metric_that_is_asked_for_alone():
    rng = np.random.default_rng(0)
    labels, rows = rng.integers(5, size=300), metrics.softmax(rng.normal(size=(300, 5)))
    record = METRICS["top2_error"]
    places = (-rows).argsort(axis=1)[:, :2]
    expected = np.mean([y not in each for y, each in zip(labels, places, strict=True)])
    assert record.value(Predictions(labels, rows), "standard") == pytest.approx(expected)
    assert "top2_error" not in metrics.evaluate(labels, rows)
    # --fail-if takes it, and others that an audit's table has no room for.
    audited = lsp.audit(Predictions(labels, rows), num_resamples=20)
    for key in ("top2_error", "balanced_accuracy", "mce"):
        assert key not in audited.metrics.index
        value = parse_condition(f"{key}>0").value(audited)
        assert value == pytest.approx(METRICS[key].value(Predictions(labels, rows), "standard"))
        low, high = (parse_condition(f"{key}.{end}>0").value(audited) for end in ("low", "high"))
        interval = metrics.bootstrap_interval(key, labels, rows)
        assert (low, high) == (interval.low, interval.high)
    confident = Predictions(labels, predicted=rows.argmax(axis=1), confidence=rows.max(axis=1))
    with pytest.raises(InputError, match="--fail-if: top2_error needs the probabilities of all"):
        parse_condition("top2_error>0").check(confident)
