"""The printed numbers as data: they are those that were transcribed, and the notes are true."""

from __future__ import annotations

import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from lsplus_tf.config import packaged_configs
from lsplus_tf.config.methods import METHODS
from lsplus_tf.paper import printed
from lsplus_tf.results.tables import COLUMNS

NAMES = {  # those of the transcription that are others than the package's
    "metric": {"acc": "accuracy", "ce": "nll"},
    "method": {"ols": "online_label_smoothing"},
    "backbone": {"mobilenetv2": "mobilenet_v2"},
}


def test_they_are_the_transcribed_ones(shared):
    ours = printed.printed_tables()
    theirs = pd.read_csv(shared / "reference" / "printed_tables.csv").replace(NAMES)
    pd.testing.assert_frame_equal(ours.drop(columns="note"), theirs.drop(columns="note"))
    # What is noted there is noted here.
    assert (ours["note"] != "")[theirs["note"].notna()].all()


def test_table_1_is_whole_and_in_the_packages_names():
    table = printed.table_1()
    assert len(table) == 3 * 2 * 6 * 10
    assert not table.duplicated(["dataset", "backbone", "method", "metric"]).any()
    assert set(table["metric"]) < {column.key for column in COLUMNS}
    assert table[["mean", "sd"]].notna().all(axis=None)
    hard = table.query("dataset == 'mhist' and backbone == 'resnet50' and method == 'hard_labels'")
    assert hard.set_index("metric")["mean"]["accuracy"] == 77.21
    assert hard.set_index("metric")["sd"]["accuracy"] == 4.5


def test_the_first_block_of_radimagenet_is_impossible_as_noted():
    everything = printed.printed_tables()
    block = everything[everything["table"] == "table_1_first_block"]
    wide = block.pivot(index=["backbone", "method"], columns="metric", values="mean")
    assert len(wide) == 12
    assert np.allclose(wide["top5_error"] - wide["top1_error"], 10)
    assert block["note"].str.startswith("impossible").all()
    assert "table_1_first_block" not in set(printed.radimagenet_errors().get("table", []))
    second = printed.radimagenet_errors().pivot(
        index=["backbone", "method"], columns="metric", values="mean"
    )
    assert len(second) == 12
    assert (second["top5_error"] < second["top1_error"]).all()


def test_what_the_notes_on_the_second_block_say():
    table = printed.radimagenet_errors()
    wide = table.pivot(index=["backbone", "metric"], columns="method", values="mean")
    for row in table.itertuples():
        values = wide.loc[(row.backbone, row.metric)]
        if row.method in ("label_smoothing", "tf_kd"):
            assert ("below that of online" in row.note) == (
                row.mean < values["online_label_smoothing"]
            )
            assert ("above that of hard" in row.note) == (row.mean > values["hard_labels"])
        else:
            assert row.note == ""


def test_an_ece_below_the_gap_of_confidence_and_accuracy_is_noted():
    confidence = printed.radimagenet_confidence()
    wide = confidence.pivot(index="method", columns="metric", values="mean")
    errors = printed.radimagenet_errors().query("backbone == 'resnet50' and metric == 'top1_error'")
    accuracy = 1 - errors.set_index("method")["mean"] / 100
    notes = confidence[confidence["metric"] == "ece"].set_index("method")["note"]
    for method, row in wide.iterrows():
        gap = abs(row["mean_confidence"] - accuracy[method])
        assert (row["ece"] < gap) == ("impossible" in notes[method])
        if notes[method]:
            assert notes[method].endswith(f"{gap:.4f}")
    assert (notes != "").sum() == 2


def test_only_one_cell_of_table_1_is_wrong(shared):
    """Mean and SD in floats, from the authors' files: all but one within their rounding up."""
    folders = {"chaoyang": "d1_chaoyang_code", "mhist": "d2_mhist_code", "isic2018": "d3_skin_code"}
    keys = ["accuracy", "auroc", "precision", "recall", "f1", "ece", "ace", "sce", "nll", "brier"]
    files = ["acc", "auc", "precision", "recall", "f1", "ece", "aece", "sce", "ce", "brierloss"]
    columns = dict(zip(keys, files, strict=True))
    names = ["BASELINE", "LS", "BASELINE_FL", "BASELINE_DCA", "BASELINE_MDCA", "OURS_ALPHA05"]
    methods = dict(
        zip(
            ["hard_labels", "label_smoothing", "focal", "dca", "mdca", "ls_plus"],
            names,
            strict=True,
        )
    )
    wrong = []
    for cell in printed.table_1().itertuples():
        file = shared / "lsplus-artifacts" / folders[cell.dataset] / cell.backbone / "metrics.csv"
        runs = pd.read_csv(file)
        values = 100 * runs.loc[runs["Name"] == methods[cell.method], f"T{columns[cell.metric]}"]
        assert len(values) == 3
        mean_off, sd_off = cell.mean - values.mean(), cell.sd - values.std()
        if not (-1e-9 <= mean_off < 0.01 and -1e-9 <= sd_off < 0.1):
            wrong.append((cell.dataset, cell.backbone, cell.method, cell.metric))
            assert cell.note == "the SD of the three published runs is 1.1, not 0.1"
    assert wrong == [("isic2018", "resnet34", "label_smoothing", "accuracy")]


def test_the_temperature_tables_are_whole():
    table = printed.temperature_scaling()
    assert len(table) == 2 * 2 * 6 * 5
    assert not table.duplicated(["dataset", "backbone", "method", "metric"]).any()
    wide = table.pivot(index=["dataset", "backbone", "method"], columns="metric", values="mean")
    # Three cells read off the README on their own.
    assert wide.loc[("mhist", "resnet34", "mdca"), "ace"] == 10.00
    assert wide.loc[("chaoyang", "resnet50", "dca"), "nll"] == 77.96
    assert wide.loc[("mhist", "resnet50", "ls_plus"), "brier"] == 26.73


def test_every_vector_of_constants_has_a_number_for_each_class():
    constants = printed.class_accuracy_constants()
    for key, vector in constants.groupby(["dataset", "backbone", "in_use", "learning_rate"]):
        classes = {"chaoyang": 4, "mhist": 2, "isic2018": 7}[key[0]]
        assert vector["class_index"].tolist() == list(range(classes))
        assert vector["constant"].between(0, 1, inclusive="neither").all()
    assert constants.groupby(["dataset", "backbone"]).ngroups == 6


@pytest.mark.parametrize("name", ["printed_tables", "temperature_scaling"])
def test_the_data_travel_with_the_package(name):
    assert resources.files("lsplus_tf.paper").joinpath("data", f"{name}.csv").is_file()


def head(name: str) -> str:
    """The comment at the top of a packaged config, without its signs and line breaks."""
    text = packaged_configs()[name].read_text(encoding="utf-8")
    return re.sub(r"\s*\n#\s*", "\n", text.partition("\nname:")[0])


@pytest.mark.parametrize("dataset", ["chaoyang", "mhist", "isic2018"])
def test_the_heads_of_the_configs_print_both_networks(dataset):
    """Accuracy and ECE of ResNet-34, then of ResNet-50, a line for each method."""
    table = printed.table_1().query("dataset == @dataset")
    cells = table.set_index(["method", "backbone", "metric"])[["mean", "sd"]]
    text = head(dataset)
    assert re.search(r"^ResNet-34 +ResNet-50$", text, re.M)
    for method in dict.fromkeys(table["method"]):
        line = re.search(rf"^{re.escape(METHODS[method].short_name)} +ACC .*$", text, re.M)
        assert line is not None, method
        numbers = [float(number) for number in re.findall(r"\d+\.\d+", line[0])]
        wanted = [
            cells.loc[(method, backbone, metric), kind]
            for backbone in ("resnet34", "resnet50")
            for metric in ("accuracy", "ece")
            for kind in ("mean", "sd")
        ]
        assert numbers == wanted, method


def test_the_head_of_radimagenet_prints_the_second_block():
    """The top-1 error of each method in the order of the networks' names."""
    text = head("radimagenet")
    errors = printed.radimagenet_errors().query("metric == 'top1_error'")
    wide = errors.pivot(index="method", columns="backbone", values="mean")
    names = ["HL", "LS", "Tf-KD", "OLS"]
    methods = ["hard_labels", "label_smoothing", "tf_kd", "online_label_smoothing"]
    assert re.search(r"^ResNet-50 +MobileNetV2 +VGG-19$", text, re.M)
    for name, method in zip(names, methods, strict=True):
        line = re.search(rf"^{name} +([\d. ]+)$", text, re.M)
        assert line is not None, method
        numbers = [float(number) for number in line[1].split()]
        assert numbers == wide.loc[method, ["resnet50", "mobilenet_v2", "vgg19"]].tolist()
