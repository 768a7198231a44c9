"""The class accuracies V of LS+: what the hard-label runs had, and what the authors' script has.

The LS+ paper takes V from the validation predictions of hard-label runs. The released script has
them typed in, an average of three runs by its comments, one vector in use and the others commented
out. With ISIC-2018 the vectors in use come from runs with a learning rate of 1e-4, which are not
published, and in ResNet-34's other vector two classes whose V is 1 have 1/7 instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pandas as pd

from lsplus_tf.paper import printed
from lsplus_tf.paper.artifacts import BACKBONES, DATASETS, NUM_CLASSES, Artifacts
from lsplus_tf.paper.cells import CELL, panels
from lsplus_tf.paper.checks import Check

# The script's numbers have 3 or 4 decimals, and averages of rounded values differ by as much.
TOLERANCE = 5e-4
PUBLISHED_LEARNING_RATE = 0.001
# How many constants are known to differ from the mean of the runs, and why.
DIFFERENT = {
    ("chaoyang", "resnet34"): (3, "three of the four are not those of the published runs"),
    ("isic2018", "resnet34"): (2, "1/7 stands for the two classes (DF, VASC) whose V is 1"),
}
_VECTOR = re.compile(r"^\s*(#\s*)?c\s*=\s*np\.array\(\[([\d.,\s]+)\]\)", re.MULTILINE)


def beside_constants(artifacts: Artifacts) -> pd.DataFrame:
    """The mean over the hard-label runs of each class's validation accuracy, and the constants.

    Returns
    -------
    DataFrame
        Columns of `printed.class_accuracy_constants`, and `mean_of_runs`: NaN where metrics.csv is
        not here, and where the constants come from runs that are not published.
    """
    frames = []
    for dataset, backbone in product(DATASETS, BACKBONES):
        table = artifacts.run_metrics(dataset, backbone)
        if table is not None:
            runs = table[table["method"] == "hard_labels"]
            means = [runs[f"VaccK{k}"].mean() for k in range(NUM_CLASSES[dataset])]
            frame = pd.DataFrame({"class_index": range(len(means)), "mean_of_runs": means})
            frames.append(
                frame.assign(
                    dataset=dataset, backbone=backbone, learning_rate=PUBLISHED_LEARNING_RATE
                )
            )
    keys = [*CELL[:2], "learning_rate", "class_index"]
    means_of_runs = pd.concat(frames) if frames else pd.DataFrame(columns=[*keys, "mean_of_runs"])
    return printed.class_accuracy_constants().merge(means_of_runs, on=keys, how="left")


def script_vectors(artifacts: Artifacts) -> pd.DataFrame:
    """Whether the constants stand in the scripts of the folder, in use or commented out as noted.

    The scripts are searched as text and never run.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, in_use, learning_rate, found; no rows of a script that is
        missing.
    """
    rows = []
    for dataset in DATASETS:
        script = artifacts.training_script(dataset)
        if script is None:
            continue
        constants = printed.class_accuracy_constants()
        constants = constants[constants["dataset"] == dataset]
        vectors = {
            (not comment, tuple(float(number) for number in numbers.split(",") if number.strip()))
            for comment, numbers in _VECTOR.findall(script)
        }
        keys = [*CELL[:2], "in_use", "learning_rate"]
        for key, group in constants.groupby(keys, sort=False):
            found = (key[2] == "yes", tuple(group["constant"])) in vectors
            rows.append([*key, found])
    return pd.DataFrame(rows, columns=[*CELL[:2], "in_use", "learning_rate", "found"])


def checks(constants: pd.DataFrame, vectors: pd.DataFrame) -> Iterator[Check]:
    """Constants that are the mean of the published runs, and vectors that the scripts hold."""
    for where, group in panels(constants.dropna()):
        dataset, backbone = group.iloc[0][CELL[:2]]
        different, note = DIFFERENT.get((dataset, backbone), (0, ""))
        off = (group["constant"] - group["mean_of_runs"]).abs()
        yield Check(
            f"V of the training script, {where}: the mean of the published runs",
            int((off <= TOLERANCE).sum()),
            len(group),
            len(group) - different,
            note,
        )
    for where, group in panels(vectors):
        found, total = int(group["found"].sum()), len(group)
        yield Check(f"V of the training script, {where}: as noted here", found, total, total)
