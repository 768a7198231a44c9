"""`lsplus-tf audit`: what it says, writes and ends with."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import lsplus_tf as lsp
from lsplus_tf import auditing
from lsplus_tf.auditing.conditions import parse_condition
from lsplus_tf.auditing.verdicts import models
from lsplus_tf.cli.auditing import _rich
from lsplus_tf.csv_files import write_csv
from lsplus_tf.errors import InputError
from lsplus_tf.page import Page, Table
from lsplus_tf.paper.artifacts import Artifacts

FORMULA = "=cmd()"
QUICK = ("--resamples", "200")


@pytest.fixture
def call(call):
    """Run `lsplus-tf audit`: exit code, standard output, standard error."""
    return functools.partial(call, "audit", columns=200)


@pytest.fixture
def without_page(monkeypatch) -> None:
    """The page is empty, which takes long to draw, where it is not looked at."""
    monkeypatch.setattr("lsplus_tf.auditing.output.audit_page", lambda _: Page("Audit", []))


def table_of(samples: int, sharper: float = 1.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(samples, 3))
    probabilities = lsp.metrics.softmax(logits)
    labels = (probabilities.cumsum(axis=1) < rng.random((samples, 1))).sum(axis=1).clip(0, 2)
    names = np.array(["normal", "<b>serrated</b>", FORMULA])
    given = lsp.metrics.softmax(sharper * logits)
    votes = np.stack([rng.multinomial(7, row) for row in probabilities])
    columns = {f"probability_{name}": given[:, k] for k, name in enumerate(names)}
    columns |= {f"votes_{name}": votes[:, k] for k, name in enumerate(names)}
    return pd.DataFrame(
        {
            "id": [f"case {k}" for k in range(samples)],
            "label": names[labels],
            "group": np.arange(samples) // 2,
            "site": np.where(np.arange(samples) % 3, "York", "+Leeds"),
            **columns,
        }
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    table_of(400, 2.0).to_csv(folder / "sharp.csv", index=False)
    table_of(400, 1.0).sample(frac=1, random_state=0).to_parquet(folder / "right.parquet")
    table_of(10).to_csv(folder / "ten.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def written(files) -> Path:
    """The folder of an audit with everything in it."""
    out = files / "out"
    columns = lsp.predictions.Columns(subgroups=("site",))
    first, second = (
        lsp.read_predictions(files / name, columns) for name in ("sharp.csv", "right.parquet")
    )
    auditing.write_audit(lsp.audit(first, second, paper=True, num_resamples=100), out)
    return out


@pytest.mark.usefixtures("without_page")
def test_the_verdict_is_told_and_written(call, files, tmp_path):
    arguments = (files / "sharp.csv", "--subgroup", "site", "--out", tmp_path / "new" / "out")
    code, stdout, stderr = call(*arguments, *QUICK)
    assert (code, stderr) == (0, "")
    for said in (
        "! Overconfident: mean confidence is",
        "over 400 cases of 200 groups",
        "! Miscalibrated: the ECE of",
        " by predicted class and site: ",
        "Temperature calibration helps: on held-out folds",
        "Surer than the annotators",
        "At an error rate of at most 5%",
        "Confidence less accuracy",
        "<b>serrated</b>",
    ):
        assert said in stdout
    written = {path.name for path in (tmp_path / "new" / "out").iterdir()}
    assert written == {
        "audit.html",
        "audit.json",
        *(f"{t}.csv" for t in ("metrics", "classes", "confusion", "calibration", "parts")),
        *(f"{t}.csv" for t in ("automatic", "sets", "calibrators")),
    }
    assert all(f"Written: {tmp_path / 'new' / 'out' / name}" in stdout for name in written)


def test_columns_that_were_not_used_are_named(call, tmp_path):
    table = table_of(60).rename(columns={"group": "patient"})
    table.to_csv(tmp_path / "p.csv", index=False)
    _, stdout, _ = call(tmp_path / "p.csv", *QUICK)
    assert "note: Columns not used: patient, site." in stdout
    assert "declare it with --group" in stdout
    assert "Declare one with --subgroup" in stdout
    options = ("--group", "patient", "--subgroup", "site", *QUICK)
    _, stdout, _ = call(tmp_path / "p.csv", *options)
    assert "not used" not in stdout
    code, _, stderr = call(tmp_path / "p.csv", "--group", "patients", *QUICK)
    assert code == 2
    assert "--group: expected 'patients', found 'id', " in stderr
    assert stderr.endswith(", did you mean 'patient'?\n")


@pytest.mark.usefixtures("without_page")
def test_what_a_calibrator_gives_is_audited(call, files, tmp_path):
    table_of(300, seed=1).assign(id=range(300)).to_csv(tmp_path / "others.csv", index=False)
    predictions = lsp.read_predictions(files / "sharp.csv")
    others = lsp.read_predictions(tmp_path / "others.csv")
    calibrator = lsp.calibrators.TemperatureScaling().fit(others)
    calibrator.temperature_ = 2.0  # of the logarithms of its probabilities
    calibrator.save(tmp_path / "calibrator.json")
    people = pd.DataFrame({"id": [f"case {k}" for k in range(400)], "ward": ["a", "b"] * 200})
    people.to_csv(tmp_path / "people.csv", index=False)
    code, _, stderr = call(
        files / "sharp.csv",
        *("--calibrator", tmp_path / "calibrator.json", "--out", tmp_path / "out", *QUICK),
        *("--positive", "normal", "--thresholds-from", tmp_path / "others.csv"),
        *("--cases", tmp_path / "people.csv", "--subgroup", "ward"),
        *("--fail-if", "nll>1e3", "--fail-if", "ece<1"),
    )
    assert (code, stderr) == (1, "")
    flat = np.sqrt(predictions.probabilities)
    flat /= flat.sum(axis=1, keepdims=True)
    right = -np.log(flat[np.arange(400), predictions.labels]).mean()
    document = json.loads((tmp_path / "out/audit.json").read_text())
    found = pd.read_csv(tmp_path / "out/metrics.csv").set_index("metric")
    assert found.loc["nll", "value"] == pytest.approx(right, rel=1e-6)
    settings = document["settings"]
    assert settings["predictions"] == str(files / "sharp.csv")
    assert settings["calibrated by"] == "temperature"
    assert settings["calibrator"] == str(tmp_path / "calibrator.json")
    assert settings["table of the cases"] == str(tmp_path / "people.csv")
    assert settings["condition nll>1e3"] == f"does not hold: it is {right:.4g}"
    assert settings["condition ece<1"].startswith("holds: it is 0.0")
    # Thresholds are of calibrated probabilities on both sides.
    of_others = calibrator.calibrate(others)
    expected = lsp.audit(
        calibrator.calibrate(predictions),
        positive=["normal"],
        thresholds_from=of_others,
        num_resamples=200,
    )
    # The file does not hold what is audited.
    name = f"{files / 'sharp.csv'}, calibrated by temperature"
    assert expected.settings["predictions"] == name
    assert "SHA-256" not in expected.settings
    points = pd.read_csv(tmp_path / "out/operating.csv")
    thresholds = expected.classes.operating.table["threshold"]
    np.testing.assert_allclose(points["threshold"], thresholds)


def test_a_calibrator_is_told_and_refused_on_its_own_cases(call, files, tmp_path):
    given = lsp.read_predictions(files / "sharp.csv")
    calibrator = lsp.calibrators.TemperatureScaling().fit(given)
    calibrator.save(tmp_path / "calibrator.json")
    arguments = ("--calibrator", tmp_path / "calibrator.json", *QUICK)
    code, stdout, stderr = call(files / "sharp.csv", *arguments)
    assert (code, stdout) == (2, "")
    assert "fitted to other cases than those that are audited, received one of these very" in stderr
    code, stdout, _ = call(files / "right.parquet", *arguments)
    assert code == 0
    assert "note: Audited are the probabilities that temperature calibration gives" in stdout


def test_a_class_of_few_groups_is_said_to_be(files):
    table = table_of(400).assign(group=lambda each: each["group"] % 7)
    rare = table["label"].eq("normal")
    groups = table.loc[rare, "group"].nunique()
    table.loc[~rare, "group"] += 7 * np.arange(400)[~rare]
    table.to_csv(files / "few.csv", index=False)
    for path, few in ((files / "few.csv", True), (files / "sharp.csv", False)):
        result = lsp.audit(lsp.read_predictions(path), positive=["normal"], num_resamples=20)
        (found,) = [each.text for each in auditing.verdict(result) if each.topic == "class"]
        assert (f"; these cases are of {groups} groups only." in found) == few


def test_a_column_of_another_table_is_taken_with_cases(call, files):
    code, _, stderr = call(files / "sharp.csv", "--subgroup", "age", *QUICK)
    assert code == 2
    assert stderr.endswith(
        "; what another table has of these cases is taken with --cases TABLE (cases=...)\n"
    )


def test_a_part_of_few_cases_has_no_absurd_gap(call, tmp_path, monkeypatch):
    from lsplus_tf.auditing import page

    rng = np.random.default_rng(0)
    rare = np.arange(200) >= 198  # predictions of class b, of two patients
    first = np.where(rare, [0.45, 0.4] * 100, rng.uniform(0.6, 0.9, 200))
    labels = np.where(rare, [0, 1] * 100, rng.random(200) > first)
    table = pd.DataFrame({"label": np.where(labels, "b", "a"), "group": np.arange(200)})
    table = table.assign(probability_a=first, probability_b=1 - first)
    table.to_csv(tmp_path / "p.csv", index=False)
    drawn = {}
    draw = page.draw

    def kept(figure, alt, caption="", **options):
        if alt.startswith("The gaps"):
            drawn["limits"], drawn["caption"] = figure.axes[0].get_xlim(), caption
            drawn["legend"] = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
        return draw(figure, alt, caption, **options)

    monkeypatch.setattr(page, "draw", kept)
    code, stdout, _ = call(tmp_path / "p.csv", "--out", tmp_path / "out", *QUICK)
    assert code == 0
    parts = pd.read_csv(tmp_path / "out" / "parts.csv").set_index("part")
    assert parts.loc["b", "cases"] == 2
    assert (parts.loc["b", "low"], parts.loc["b", "high"]) == (-1, 1)
    assert "-100.0 to +100.0 (too few)" in stdout
    # The axis is that of the other part's interval, and of both gaps.
    low, high = drawn["limits"]
    ends = 100 * np.append(parts["gap"], parts.loc["a", ["low", "high"]]).astype(float)
    span = np.ptp(np.append(ends, 0))
    assert low == pytest.approx(min(ends.min(), 0) - 0.05 * span)
    assert high == pytest.approx(max(ends.max(), 0) + 0.05 * span)
    assert drawn["caption"] == "Lines that leave the picture are of parts with too few cases."
    assert drawn["legend"] == ["not significant"]
    html = (tmp_path / "out" / "audit.html").read_text()
    assert "not proven" in html
    assert "not shown" not in html


@pytest.mark.usefixtures("undrawn")
def test_an_interval_without_its_value_is_marked(call, tmp_path):
    # As many classes as make the SCE of so few cases mostly noise, which resampling adds to.
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(8), 300)
    labels = (probabilities.cumsum(axis=1) < rng.random((300, 1))).sum(axis=1).clip(0, 7)
    np.savez(tmp_path / "p.npz", probabilities=probabilities, labels=labels)
    _, stdout, _ = call(tmp_path / "p.npz", "--out", tmp_path / "out", *QUICK)
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index("metric")
    outside = (metrics["value"] < metrics["low"]) | (metrics["value"] > metrics["high"])
    assert outside["sce"]
    assert not outside["accuracy"]
    rows = {line.split("│")[1].strip(): line for line in stdout.splitlines() if "│" in line}
    assert "% *" in rows["SCE"]
    assert "*" not in rows["Accuracy"]
    for text in (" ".join(stdout.split()), (tmp_path / "out" / "audit.html").read_text()):
        assert "* The value is outside its interval: the metric of so few cases" in text
        assert "under the retention curve. The intervals of the ECE, ACE and SCE" in text


def test_without_such_an_interval_there_is_no_mark(call, files):
    _, stdout, _ = call(files / "sharp.csv", *QUICK)
    assert "* The value" not in stdout


@pytest.mark.parametrize("width", [40, 60, 80, 120, 10_000])
def test_no_cell_of_a_table_is_cut(width):
    """However narrow the terminal: columns go whole, cells have more lines."""
    headings = ["Fixed on these cases, at least", "Threshold", "Sensitivity", "PPV", "ECE"]
    row = ["melanoma or carcinoma, specificity 90%", "0.3251", "51.9% (40.1 to 63.5%)"]
    table = Table("What is found", headings, [[*row, "12.5% (7.1 to 20.0%)", "1.0%"]])
    console = Console(width=width, file=io.StringIO())
    console.print(_rich(table, width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    cells = [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in lines]
    columns = ["".join(parts) for parts in zip(*filter(None, cells), strict=True)]
    shown = ["".join(text.split()) for text in columns]
    assert shown == [
        "".join(f"{heading}{cell}".split())
        for heading, cell in zip(headings, [*row, "12.5% (7.1 to 20.0%)", "1.0%"], strict=True)
        if any("".join(heading.split()) in each for each in shown)
    ]
    assert len(shown) >= 4  # a spare one alone may go


def test_a_pipe_gets_whole_tables(call, files, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    _, stdout, _ = call(files / "sharp.csv", *QUICK)
    heading = next(line for line in stdout.splitlines() if "Sensitivity ┃" in line)
    assert {"Prevalence", "Specificity", "PPV", "NPV", "F1"} <= set(re.split("[┃ ]+", heading))
    assert max(map(len, stdout.splitlines())) < 300  # as wide as tables and notes are


def test_files_of_the_same_name_are_told_by_their_folders(tmp_path):
    def at(*folders: str):
        path = tmp_path.joinpath(*folders) / "predictions_test.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, probabilities=[[0.9, 0.1]] * 20, labels=[0, 1] * 10)
        return lsp.read_predictions(path)

    def told(first, second) -> tuple[list[str], str]:
        result = lsp.audit(first, second, num_resamples=20)
        said = next(f.text for f in auditing.verdict(result) if f.topic == "comparison")
        return list(models(result)), said

    names, said = told(at("x", "hl", "seed_0"), at("x", "ls", "seed_0"))
    assert names == ["hl/seed_0", "ls/seed_0"]
    assert said.startswith("Against ls/seed_0, on the same 20 cases")
    assert told(at("x", "hl", "seed_0"), at("x", "hl", "seed_1"))[0] == ["hl/seed_0", "hl/seed_1"]
    names, _ = told(at("x", "hl", "seed_0"), at("y", "hl", "seed_0"))
    assert names == ["x/hl/seed_0", "y/hl/seed_0"]
    same = at("x", "hl", "seed_0")
    title = f"{same.name} (first)"
    assert told(same, same)[0] == [title, f"{same.name} (second)"]


def test_ten_rows_are_too_few(call, files):
    code, stdout, _ = call(files / "ten.csv")
    assert code == 0
    said = stdout[: stdout.index("Metrics")]
    assert "Too small: 10 cases of 5 groups do not show whether confidence can be relied on" in said
    assert "groups like these would show it within 5 points" in said
    assert not re.search(r"confident:|calibration helps|Miscalibrated", stdout)


def test_two_files_are_compared(call, files, written):
    code, stdout, _ = call(files / "sharp.csv", files / "right.parquet", *QUICK)
    assert code == 0
    said = " ".join(stdout.split())
    assert re.search(r"Against right.parquet, on the same 400 cases, these differ: .*ECE", said)
    found = json.loads((written / "audit.json").read_text())["tables"]["comparison"]
    table = {row["metric"]: row for row in found}
    assert table["accuracy"]["difference"] == 0
    assert table["ece"]["low"] > 0
    # Paired tests: not what two intervals alone could tell.
    assert table["brier"]["high"] > table["brier"]["low"] > 0


@pytest.mark.parametrize(
    ("condition", "code"),
    [("ece>0.05", 1), ("ece<0.05", 0), ("gap.low > 0", 1), ("accuracy.high<=0.2", 0)],
)
def test_a_condition_gives_the_exit_code(call, files, condition, code):
    ended, stdout, _ = call(files / "sharp.csv", *QUICK, "--fail-if", condition)
    assert ended == code
    assert (f"failed: {condition}: it is 0." in stdout) == bool(code)


def test_a_metric_that_is_not_defined_fails(call, tmp_path):
    path = tmp_path / "absent.csv"
    path.write_text("label,logit_a,logit_b,logit_c\n" + "a,2,1,0\nb,1,3,0\n" * 40)
    code, stdout, _ = call(path, *QUICK, "--fail-if", "auroc<0.1", "--fail-if", "ece>0.9")
    assert code == 1
    assert "failed: auroc<0.1: it is nan" in stdout
    assert "ece>0.9" not in stdout
    assert "No case is of class c: the AUROC is not defined" in stdout


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("ece>", "expected a condition such as 'ece>0.05'"),
        ("ece=0.1", "expected a condition such as"),
        ("ece>0.1.2", "expected a condition such as"),
        ("kindness>1", "expected a metric, one of gap, accuracy"),
    ],
)
def test_a_wrong_condition_is_a_usage_error(call, files, condition, message):
    code, stdout, stderr = call(files / "sharp.csv", "--fail-if", condition)
    assert (code, stdout) == (2, "")
    assert message in stderr
    with pytest.raises(InputError):
        parse_condition(condition)


def test_a_file_that_cannot_be_used_is_a_usage_error(call, tmp_path, files):
    path = tmp_path / "p.csv"
    path.write_text("label,probability_a,probability_b\na,90,10\n")
    code, _, stderr = call(path)
    assert code == 2
    assert stderr.startswith(f"error: {path}: probabilities: expected rows that sum to 1")
    assert stderr.count("\n") == 1
    code, _, stderr = call(files / "sharp.csv", "--error-rate", "5")
    assert code == 2
    assert "error_rate: expected a number between 0 and 1, received 5" in stderr


def test_names_are_no_formulas_to_matplotlib_either(call, tmp_path):
    table = table_of(60)
    table.columns = [c.replace("normal", "$\\frac{$") for c in table.columns]
    table["label"] = table["label"].replace("normal", "$\\frac{$")
    table["site"] = table["site"].replace("York", "$a_{$")
    path, other = tmp_path / "$_{$.csv", tmp_path / "b.csv"
    table.to_csv(path, index=False)
    table.to_csv(other, index=False)
    code, stdout, _ = call(path, other, "--subgroup", "site", "--out", tmp_path / "out", *QUICK)
    assert code == 0
    assert "$a_{$" in stdout
    assert (tmp_path / "out" / "audit.html").is_file()


def test_other_columns_are_declared(call, tmp_path):
    table = table_of(80).rename(columns={"label": "truth", "id": "name", "group": "patient"})
    table.columns = [c.replace("probability_", "p_") for c in table.columns]
    table["part"] = ["Validation", "test"] * 40
    table.to_csv(tmp_path / "p.csv", index=False)
    code, stdout, _ = call(
        tmp_path / "p.csv",
        *("--probabilities", "p_*", "--label", "truth", "--id", "name", "--group", "patient"),
        *("--split", "part", "--take-split", "val", *QUICK),
    )
    assert code == 0
    assert "40 cases of 40 groups" in stdout


def test_json_is_strict_and_holds_everything(written):
    text = (written / "audit.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert document["cases"] == 400
    assert document["groups"] == 200
    assert document["class_names"] == ["normal", "<b>serrated</b>", FORMULA]
    assert not document["too_small"]
    assert {finding["topic"] for finding in document["verdict"]} == {
        *("classes", "gap", "ece", "parts", "automatic", "sets", "calibrator", "votes"),
        "comparison",
    }
    assert set(document["tables"]) == {
        *("metrics", "classes", "confusion", "calibration", "parts", "automatic", "sets"),
        *("calibrators", "comparison"),
    }
    assert len(document["settings"]["SHA-256"]) == 64
    expected = lsp.evaluate(
        *(lambda p: (p.labels, p.probabilities))(
            lsp.read_predictions(document["settings"]["predictions"])
        )
    )
    found = {row["metric"]: row["value"] for row in document["tables"]["metrics"]}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12)
    assert found["gap"] == pytest.approx(expected["mean_confidence"] - expected["accuracy"])


def test_the_page_escapes_what_the_file_holds(written):
    html = (written / "audit.html").read_text(encoding="utf-8")
    assert "<b>" not in html
    assert "&lt;b&gt;serrated&lt;/b&gt;" in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_page_in_a_browser(open_page, written):
    tab, heard = open_page(written / "audit.html", viewport={"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("[...document.images].every((i) => i.naturalWidth > 0 && i.alt)")
    table = tab.get_by_role("table", name="Parts of the cases")
    table.get_by_role("button", name="Gap").click()
    cells = table.locator("tbody tr > :nth-child(6)").all_inner_texts()
    assert [float(cell) for cell in cells] == sorted(float(cell) for cell in cells)
    tab.get_by_role("link", name="Calibrators").click()
    tab.get_by_text("Settings", exact=True).click()
    assert tab.get_by_text("SHA-256", exact=True).is_visible()
    assert heard == []


def test_formulas_are_neutralised_in_csv(written, tmp_path):
    with (written / "parts.csv").open(newline="") as file:
        parts = [row["part"] for row in csv.DictReader(file)]
    assert parts == ["normal", "<b>serrated</b>", "'=cmd()", "'+Leeds", "York"]
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\r=x", "x=1", "", None]
    table = pd.DataFrame({"=a": texts, "b": [-1.5] * 9, "c": pd.Categorical(["-x"] * 9)})
    write_csv(table, tmp_path / "t.csv")
    found = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert found.columns.tolist() == ["'=a", "b", "c"]
    assert found["b"].tolist() == [-1.5] * 9
    assert found["c"].tolist() == ["'-x"] * 9
    assert found["'=a"].tolist() == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "' =x", "x=1", "", ""]


def test_the_same_seed_gives_the_same_bytes(files, written, tmp_path):
    columns = lsp.predictions.Columns(subgroups=("site",))
    first, second = (
        lsp.read_predictions(files / name, columns) for name in ("sharp.csv", "right.parquet")
    )
    auditing.write_audit(lsp.audit(first, second, paper=True, num_resamples=100), tmp_path)
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("backbone", "method", "run"), [("resnet34", "hard_labels", 1), ("resnet34", "ls_plus", 3)]
)
@pytest.mark.parametrize("kind", ["csv", "npz"])
@pytest.mark.usefixtures("without_page")
def test_a_published_run_has_the_papers_errors(call, shared, tmp_path, backbone, method, run, kind):
    artifacts = Artifacts(shared / "lsplus-artifacts")
    published = artifacts.predictions(backbone, method, run)
    votes = artifacts.votes()
    path = tmp_path / f"p.{kind}"
    if kind == "npz":
        np.savez(
            path,
            probabilities=published.probabilities,
            labels=published.labels,
            votes=votes,
            class_names=["HP", "SSA"],
        )
    else:
        names = np.array(["HP", "SSA"])
        table = pd.DataFrame(published.probabilities, columns=["p HP", "p SSA"])
        table.assign(label=names[published.labels]).to_csv(path, sep=";", index=False)
    declared = ("--probabilities", "p *") if kind == "csv" else ()
    code, stdout, _ = call(path, "--paper", "--out", tmp_path / "out", *QUICK, *declared)
    assert code == 0
    assert "By the LS+ paper's code" in stdout
    document = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (document["votes"] is None) == (kind == "csv")
    table = artifacts.run_metrics("mhist", backbone)
    row = table[(table["method"] == method) & (table["run"] == run)].iloc[0]
    columns = {
        "ece": "Tece",
        "ace": "Taece",
        "brier": "Tbrierloss",
        "accuracy": "Tacc",
        "auroc": "Tauc",
        "sce": "Tsce",
        "nll": "Tce",
    }
    for metric, name in columns.items():
        assert document["paper_metrics"][metric] == pytest.approx(row[name], abs=5.1e-5), metric
