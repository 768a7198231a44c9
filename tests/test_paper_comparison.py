"""A measured table beside the printed one: which numbers, in which units, for which methods."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import CONFIGS, made_up_runs
from rich.console import Console

from lsplus_tf import cli
from lsplus_tf.config import load_config
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, plan_runs
from lsplus_tf.metrics import evaluate, softmax
from lsplus_tf.paper import comparison
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import Report, Results, gather
from lsplus_tf.training import run_folder


def finished(folder: Path, config: str, *changes: str, num_classes: int = 2) -> Results:
    """An experiment of a config of ours, with made-up predictions of finished runs."""
    made_up_runs(load_config(CONFIGS / f"{config}.yaml", changes), folder, num_classes)
    return gather(folder)


def cell(beside: comparison.BesidePrinted, method: str, metric: str) -> pd.Series:
    rows = beside.rows
    return rows[(rows["method"] == method) & (rows["metric"] == metric)].iloc[0]


def compared(results: Results) -> comparison.BesidePrinted | None:
    return comparison.compare(results.experiment, results)


@pytest.fixture(scope="module")
def mhist(tmp_path_factory) -> Results:
    return finished(tmp_path_factory.mktemp("mhist"), "mhist")


@pytest.fixture(scope="module")
def beside(mhist) -> comparison.BesidePrinted:
    return compared(mhist)


def test_the_difference_in_printed_sds(mhist, beside):
    assert beside.title == "MHIST, ResNet-50"
    found = cell(beside, "hard_labels", "accuracy")
    runs = mhist.metrics()
    accuracy = 100 * runs[runs["method"] == "hard_labels"]["accuracy"]
    assert (found["mean_printed"], found["sd_printed"]) == (77.21, 4.5)
    # Rounded up, as the authors did with numbers of four decimals.
    accuracy = accuracy.round(2)
    assert 0 <= found["mean_measured"] - accuracy.mean() + 1e-9 < 0.01
    assert 0 <= found["sd_measured"] - accuracy.std() + 1e-9 < 0.1
    assert found["difference"] == pytest.approx(found["mean_measured"] - 77.21)
    assert found["in_sd"] == pytest.approx(found["difference"] / 4.5)
    assert (found["sd_of"], found["seeds"]) == ("printed", 3)


def test_what_is_measured_is_what_the_released_code_measures(tmp_path):
    """Here so sure that it clips most probabilities; nothing else of a report does so."""
    results = finished(tmp_path, "mhist", "seeds=[1]")
    (run,) = results.of_method("hard_labels")
    sure = results.saved(run, "test")
    run_folder.write_predictions(
        run.folder(tmp_path), "test", sure.replace(logits=99 * sure.logits)
    )
    results = gather(tmp_path)
    of_run = results.saved(run, "test")
    probabilities = softmax(of_run.logits.astype(np.float64))
    released = evaluate(of_run.labels, probabilities, convention="released_code")
    standard = evaluate(of_run.labels, probabilities)
    beside = compared(results)
    assert released["nll"] < 0.9 * standard["nll"]
    measured = cell(beside, "hard_labels", "nll")["mean_measured"]
    assert measured == pytest.approx(100 * released["nll"], abs=0.02)
    assert results.metrics()["nll"][0] == pytest.approx(standard["nll"])
    assert "as the LS+ authors' released code computes the metrics" in beside.notes[0]


def test_released_and_true_methods_are_both_beside_the_printed_ones(tmp_path):
    beside = compared(finished(tmp_path, "isic2018"))
    printed = beside.rows.drop_duplicates("method").set_index("method")["printed_method"]
    assert printed.to_dict() == {
        "hard_labels": "hard_labels",
        "label_smoothing": "label_smoothing",
        "focal": "focal",
        "dca": "dca",
        "mdca": "mdca",
        "focal_released": "focal",
        "dca_released": "dca",
        "mdca_released": "mdca",
        "ls_plus": "ls_plus",
    }
    assert len(beside.rows) == 9 * 10
    for method in ("focal", "dca", "mdca"):
        plain, released = (cell(beside, name, "ece") for name in (method, f"{method}_released"))
        assert plain["mean_printed"] == released["mean_printed"]
        assert plain["mean_measured"] != released["mean_measured"]
    assert any("released code" in note for note in beside.notes)


@pytest.mark.parametrize(
    ("change", "gone", "reason"),
    [
        ("methods.label_smoothing.alpha=0.05", "label_smoothing", "alpha is 0.05, the paper's 0.1"),
        ("methods.focal.gamma=2.0", "focal", "gamma is 2.0, the paper's 3.0"),
        ("methods.dca_released.weight=1.0", "dca_released", "weight is 1.0, the paper's 10.0"),
        ("methods.mdca.base=focal", "mdca", "base is focal, the paper's hard_labels"),
        ("methods.ls_plus.alpha=0.3", "ls_plus", "alpha is 0.3, the paper's 0.5"),
        ("methods.ls_plus.refresh_every=5", "ls_plus", "refresh_every is 5, the paper's null"),
        (
            "methods.ls_plus.class_accuracy.shrinkage=5.0",
            "ls_plus",
            "class_accuracy.shrinkage is 5.0, the paper's 0.0",
        ),
        ("methods.hard_labels.mixup=0.2", "hard_labels", "mixup is 0.2, the paper's 0.0"),
    ],
)
def test_a_method_with_other_settings_is_not_the_papers_and_named(tmp_path, change, gone, reason):
    settings = [change, "seeds=[1]"]
    if gone == "hard_labels":  # LS+ needs a hard-label method on images as they are
        settings.append("methods.plain={loss: hard_labels}")
    results = finished(tmp_path, "mhist", *settings)
    beside = compared(results)
    assert gone not in set(beside.rows["method"])
    kept = 9 if gone == "hard_labels" else 8
    assert beside.rows["method"].nunique() == kept
    (said,) = beside.left_out
    title = results.rows[list(results.experiment.methods).index(gone)].name
    assert said == f"{title} is not the paper's: {reason}"
    assert said in comparison.markdown_text([beside])


def test_what_is_not_finished_is_named(tmp_path):
    results = finished(tmp_path, "mhist")
    for method, seed in (("ls_plus", 2), ("ls_plus", 3), ("dca_released", 1), ("focal", 1)):
        shutil.rmtree(Run(method, seed).folder(tmp_path))
    beside = compared(gather(tmp_path))
    assert cell(beside, "ls_plus", "ece")["seeds"] == 1
    # The focal loss of its own paper is optional, and was begun.
    assert beside.missing == (
        "FL, seed 1: not finished",
        "DCA, released code, seed 1: not finished",
        "LS+, seeds 2, 3: not finished",
    )
    nothing = comparison.compare(results.experiment, None, plan_runs(results.experiment))
    assert nothing.rows.empty
    assert len(nothing.missing) == 6
    # What a report does not take is another thing.
    some = gather(tmp_path, ["hard_labels", "dca_released"], [1, 2])
    assert compared(some).missing == (
        "HL, seed 3: not in this report",
        "LS, seeds 1, 2, 3: not in this report",
        "FL, released code, seeds 1, 2, 3: not in this report",
        "DCA, released code, seed 1: not finished",
        "DCA, released code, seed 3: not in this report",
        "MDCA, released code, seeds 1, 2, 3: not in this report",
        "LS+, seeds 1, 2, 3: not in this report",
    )
    assert "No finished run yet." in comparison.markdown_text([nothing])


def test_what_is_optional_and_not_trained_is_named(tmp_path):
    results = finished(tmp_path, "mhist", "seeds=[1]", "optional_methods=[dca,dca_released]")
    for method in ("dca", "dca_released"):
        shutil.rmtree(tmp_path / method)
    beside = compared(gather(tmp_path))
    assert beside.missing == ("DCA, released code: optional, and not trained",)
    assert results.experiment.usual_methods[0] == "hard_labels"


def test_another_protocol_is_told(tmp_path):
    beside = compared(finished(tmp_path / "a", "mhist", "seeds=[1]"))
    assert beside.different == ()
    changes = ["protocol.epochs=1", "dataset.image_size=32", "backbone.weights=null"]
    given = "methods.ls_plus.class_accuracy=[1.0, 0.5]"
    beside = compared(finished(tmp_path / "b", "mhist", "seeds=[1]", *changes, given))
    assert beside.different == (
        "Not the protocol of configs/mhist.yaml: dataset.image_size is 32 (there 224), "
        "backbone.weights is null (there imagenet), protocol.epochs is 1 (there 200)",
        "LS+: its class accuracies are given, and not measured",
    )
    assert all(f"**{said}.**" in comparison.markdown_text([beside]) for said in beside.different)


def test_other_data_and_networks_are_in_no_paper(tmp_path):
    assert compared(finished(tmp_path / "a", "digits")) is None
    other = finished(tmp_path / "b", "mhist", "backbone.name=vgg19", "seeds=[1]")
    assert compared(other) is None
    name = finished(tmp_path / "c", "digits", "name=mhist", "backbone.width=0.1")
    assert compared(name) is None


@pytest.mark.parametrize("form", ["resnet34", "resnet34_preact"])
def test_the_papers_resnet34_is_the_preactivation_form(tmp_path, form):
    settings = (f"backbone.name={form}", "backbone.weights=null", "seeds=[1]")
    beside = compared(finished(tmp_path, "mhist", *settings))
    assert beside.title == "MHIST, ResNet-34"
    assert cell(beside, "hard_labels", "accuracy")["mean_printed"] == 77.14
    assert any("standard ResNet-34" in note for note in beside.notes) == (form == "resnet34")


def test_images_of_a_folder_are_what_the_config_is_called(tmp_path):
    results = finished(tmp_path, "chaoyang", "dataset.name=folder:/data/chaoyang", "seeds=[1,2]")
    beside = compared(results)
    assert beside.title == "Chaoyang, ResNet-50"
    assert "name chaoyang chose the table" in beside.notes[1]
    assert cell(beside, "ls_plus", "ece")["mean_printed"] == 3.33


def test_radimagenet_has_measured_sds_or_none(tmp_path):
    several = compared(finished(tmp_path / "a", "radimagenet", "seeds=[1,2,3]", num_classes=165))
    found = cell(several, "online_label_smoothing", "top1_error")
    assert found["mean_printed"] == 23.8
    assert found["sd_of"] == "measured"
    assert found["in_sd"] == pytest.approx(found["difference"] / found["sd_measured"])
    # Table 2 prints fractions.
    assert cell(several, "hard_labels", "mean_confidence")["mean_printed"] == pytest.approx(87.83)
    assert set(several.rows["method"]) == {
        "hard_labels",
        "label_smoothing",
        "tf_kd_regularization",
        "online_label_smoothing",
    }
    text = comparison.markdown_text([several])
    assert f"{comparison.MEASURED_SD} SD)" in text
    assert "impossible beside the second block" in text

    once = compared(finished(tmp_path / "b", "radimagenet", num_classes=165))
    assert once.rows["in_sd"].isna().all()
    assert set(once.rows["sd_of"]) == {""}
    text = comparison.markdown_text([once])
    assert "nan" not in text
    assert "(1 seed)" in text


def test_runs_that_are_all_alike_give_no_unit(tmp_path):
    results = finished(tmp_path, "radimagenet", "seeds=[1,2]", num_classes=165)
    for run in results.runs:
        labels = np.arange(400) % 165
        wrong = np.arange(400) % 4 == 0
        logits = 9 * np.eye(165, dtype=np.float32)[(labels + wrong) % 165]
        alike = Predictions(labels, logits=logits)
        run_folder.write_predictions(run.folder(tmp_path), "test", alike)
    beside = compared(gather(tmp_path))
    found = cell(beside, "hard_labels", "top1_error")
    assert found["difference"] == pytest.approx(25 - 24.27)
    assert np.isnan(found["in_sd"])
    assert found["sd_of"] == ""


def test_the_markdown_holds_the_numbers(beside):
    text = comparison.markdown_text([beside])
    assert text.startswith("# MHIST, ResNet-50: measured beside the paper's table\n")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert rows[0][2:] == [
        "ACC",
        "AUROC",
        "Precision",
        "Recall",
        "F1",
        "ECE",
        "ACE",
        "SCE",
        "NLL",
        "Brier",
    ]
    assert len(rows) == 2 + 3 * 9
    printed, measured, difference = rows[2:5]
    assert printed[:3] == ["HL (3 seeds)", "printed", "77.21 ± 4.5"]
    found = cell(beside, "hard_labels", "accuracy")
    assert measured[1:3] == [
        "here",
        f"{found['mean_measured']:.2f} ± {found['sd_measured']:.1f}",
    ]
    assert difference[1:3] == [
        "difference",
        f"{found['difference']:+.2f} ({found['in_sd']:+.1f} SD)",
    ]


def test_the_terminals_table_fits(beside):
    console = Console(width=80, file=io.StringIO())
    console.print(comparison.rich_table([beside]))
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    found = cell(beside, "ls_plus", "ece")
    line = next(line for line in text.splitlines() if line.startswith("│ LS+ "))
    cells = [part.strip() for part in line.strip("│").split("│")]
    assert cells[4:] == [
        "4.03",
        f"{found['mean_measured']:.2f}",
        f"{found['in_sd']:+.1f}",
    ]


@pytest.mark.usefixtures("without_pictures")
def test_a_report_has_it_where_a_paper_has_the_data(tmp_path, monkeypatch, capsys):
    finished(tmp_path / "runs", "mhist", "seeds=[1]")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.argv", ["lsplus-tf", "report", str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    stdout = capsys.readouterr().out
    assert "the paper's means, those here, and the difference in SDs" in stdout
    assert "paper.md" in stdout
    report = tmp_path / "runs" / "report"
    beside = compared(gather(tmp_path / "runs"))
    assert (report / "paper.md").read_text(encoding="utf-8") == comparison.markdown_text([beside])
    table = pd.read_csv(report / "paper.csv", keep_default_na=False)
    assert len(table) == 90
    assert (report / "density_seed_1.png").is_file()
    assert table["difference"].to_numpy() == pytest.approx(beside.rows["difference"].to_numpy())


@pytest.mark.usefixtures("without_pictures")
def test_a_report_lacks_it_where_no_paper_has_the_data(tmp_path, monkeypatch):
    finished(tmp_path / "runs", "digits", "seeds=[0]")
    monkeypatch.setattr("sys.argv", ["lsplus-tf", "report", str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    written = {path.name for path in (tmp_path / "runs" / "report").iterdir()}
    assert "table.md" in written
    assert not {"paper.md", "paper.csv"} & written


@pytest.mark.usefixtures("without_pictures")
def test_a_report_is_not_there_where_an_addition_to_it_fails(tmp_path):
    results = finished(tmp_path / "runs", "digits", "seeds=[0]")
    report = tmp_path / "runs" / "report"

    def add(folder: Path) -> None:
        assert folder != report
        (folder / "paper.md").write_text("more")

    def fail(folder: Path) -> None:
        raise OSError("no space left")

    with pytest.raises(InputError, match="no space left"):
        Report(results).write(extra=[add, fail])
    assert not report.exists()
    written = Report(results).write(extra=[add])
    assert report / "paper.md" in written
    assert (report / "paper.md").read_text() == "more"
    # What was there stays as it was.
    with pytest.raises(InputError, match="no space left"):
        Report(results).write(extra=[fail])
    assert (report / "paper.md").exists()
