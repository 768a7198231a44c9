"""Draw the pictures of docs/ls_plus_and_ols.md: python docs/pictures/draw.py (a minute)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lsplus_tf as lsp

FOLDER = Path(__file__).resolve().parent
EPOCHS = 40
SHOWN = (5, 15)


def network(digits: lsp.datasets.ImageDataset) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(digits.image_shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(digits.num_classes, activation="softmax"),
        ]
    )


def fit(model: keras.Model, digits: lsp.datasets.ImageDataset, loss, callbacks=()) -> None:
    model.compile(keras.optimizers.Adam(0.003), loss=loss)
    model.fit(
        digits.train.images,
        digits.train.labels,
        batch_size=32,
        epochs=EPOCHS,
        callbacks=list(callbacks),
        verbose=0,
    )


def targets(ax: Axes, rows: dict[str, np.ndarray], names: tuple[str, ...]) -> None:
    """Bars of several targets of one class, beside each other."""
    width = 0.8 / len(rows)
    colours = lsp.plots.METHOD_COLOURS
    for number, ((name, row), colour) in enumerate(zip(rows.items(), colours, strict=False)):
        offset = (number - (len(rows) - 1) / 2) * width
        ax.bar(np.arange(len(row)) + offset, row, width, color=colour, label=name)
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="Class", ylabel="Target (probability)", ylim=(0, 1.05))
    ax.legend(frameon=False, fontsize="small")


def ls_plus(digits: lsp.datasets.ImageDataset) -> Figure:
    hard = network(digits)
    fit(hard, digits, lsp.HardLabelLoss())
    predicted = hard.predict(digits.validation.images, verbose=0)
    accuracy = lsp.class_accuracy(digits.validation.labels, predicted, num_classes=10)
    prior = lsp.informed_prior(accuracy)

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    left.bar(digits.class_names, accuracy, color=lsp.plots.METHOD_COLOURS[0])
    left.set(xlabel="True class", ylabel="Class accuracy V (fraction)", ylim=(0, 1.05))
    left.set_title("1. Hard labels: how hard is each class?")
    lsp.plots.soft_label_matrix(prior, digits.class_names, ax=middle)
    middle.set_title("2. The prior v")
    series = {"hard labels": np.ones(10), "LS, alpha 0.1": np.full(10, 0.91)}
    series["LS+, alpha 0.5"] = (1 + accuracy) / 2
    for (name, values), marker, colour in zip(
        series.items(), "osD", lsp.plots.METHOD_COLOURS, strict=False
    ):
        right.plot(digits.class_names, values, marker, color=colour, label=name)
    right.set(xlabel="True class", ylabel="Target of the true class (probability)")
    right.set_ylim(0.86, 1.01)
    right.legend(frameon=False, loc="lower center", ncols=3, fontsize="small")
    right.set_title("3. What is trained towards")
    return figure


def ols(digits: lsp.datasets.ImageDataset) -> Figure:
    smoothing = lsp.OnlineLabelSmoothing()
    fit(network(digits), digits, lsp.OnlineLabelSmoothingLoss(num_classes=10), [smoothing])
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    for ax, epoch in zip(axes, SHOWN, strict=False):
        lsp.plots.soft_label_matrix(smoothing.history[epoch - 1], digits.class_names, ax=ax)
        ax.set_title(f"Soft labels after epoch {epoch}")
    shown = digits.class_names.index("8")
    rows = {f"epoch {epoch + 1}": smoothing.history[epoch - 1][shown] for epoch in SHOWN}
    rows = {"epoch 1": np.full(10, 0.1), **rows}
    rows = {name: 0.5 * np.eye(10)[shown] + 0.5 * row for name, row in rows.items()}
    targets(axes[2], rows, digits.class_names)
    axes[2].set_title("What an 8 is trained towards")
    return figure


def main() -> None:
    keras.utils.set_random_seed(0)
    digits = lsp.datasets.load_dataset(
        "digits", image_size=4, validation_fraction=0.3, test_fraction=0.5
    )
    for draw in (ls_plus, ols):
        draw(digits).savefig(FOLDER / f"{draw.__name__}.png", dpi=90)


if __name__ == "__main__":
    main()
