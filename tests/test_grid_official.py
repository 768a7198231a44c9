"""The papers' grids on generated images in the four official layouts, from command to table.

A linear classifier is trained in their networks' place.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from official_layouts import WRITERS
from sklearn.metrics import accuracy_score

from lsplus_tf import read_predictions
from lsplus_tf.paper import printed

FOLDERS = {
    "mhist": "MHIST",
    "chaoyang": "chaoyang-data",
    "isic2018": "ISIC_2018",
    "radimagenet": "RadImageNet",
}
SMALL = ["protocol.epochs=1", "backbone.weights=null", "dataset.image_size=32"]

pytestmark = pytest.mark.usefixtures("linear_network")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name, write in WRITERS.items():
        write(root / FOLDERS[name])
    return root


def with_settings(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.mark.usefixtures("without_pictures", "without_the_papers_figures")
@pytest.mark.filterwarnings("ignore:.*groups are in several splits", "ignore:.*doubtful")
def test_the_ls_plus_papers_data_sets(data: Path, tmp_path: Path, call):
    """Of both networks' experiments those with ResNet-50."""
    settings = [*SMALL, "seeds=[1]"]
    ended = call(
        "reproduce",
        "ls_plus_paper",
        *("--data-dir", data, "--out", tmp_path / "out", "--only", "resnet50"),
        *("--methods", "ls_plus", *with_settings(settings)),
    )
    assert ended.code == 0, ended.stderr
    table = pd.read_csv(tmp_path / "out" / "report_selected" / "table.csv")
    keys = ["chaoyang_resnet50", "mhist_resnet50", "isic2018_resnet50"]
    assert table["experiment"].tolist() == [key for key in keys for _ in range(2)]
    assert table["method"].tolist() == ["hard_labels", "ls_plus"] * 3
    run = read_predictions(tmp_path / "out" / keys[2] / "ls_plus/seed_1/predictions_test.npz")
    accuracy = accuracy_score(run.labels, run.logits.argmax(axis=1))
    assert table["accuracy_mean"][5] == pytest.approx(100 * accuracy)


def test_the_ols_papers_tables_and_figure(data: Path, tmp_path: Path, call):
    settings = [*SMALL, "features=330"]
    ended = call(
        "reproduce",
        "ols_paper",
        *("--data-dir", data, "--out", tmp_path / "out", "--only", "mobilenet_v2"),
        *("--methods", "online_label_smoothing", *with_settings(settings)),
    )
    assert ended.code == 0, ended.stderr
    out = tmp_path / "out" / "report_selected"
    table = pd.read_csv(out / "paper.csv", keep_default_na=False)
    wanted = printed.radimagenet_errors()
    wanted = wanted[
        wanted["backbone"].eq("mobilenet_v2") & wanted["method"].eq("online_label_smoothing")
    ]
    assert table["metric"].tolist() == wanted["metric"].tolist()
    assert table["mean_printed"].tolist() == wanted["mean"].tolist()
    key = tmp_path / "out" / "radimagenet_mobilenet_v2"
    run = read_predictions(key / "online_label_smoothing/seed_1/predictions_test.npz")
    error = 100 * np.mean(run.logits.argmax(axis=1) != run.labels)
    measured = table.set_index("metric")["mean_measured"]["top1_error"]
    assert float(measured) == pytest.approx(error)
    assert "RadImageNet, MobileNetV2" in (out / "paper.md").read_text(encoding="utf-8")
    assert (key / "report_selected" / "features.png").exists()
    numbers = pd.read_csv(key / "report_selected" / "features.csv")
    assert 0 < numbers["within_class_share"][0] < 1
