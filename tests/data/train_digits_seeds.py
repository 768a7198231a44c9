"""Train 40 networks with hard labels and 10 with label smoothing; store their test logits.

    python tests/data/train_digits_seeds.py tests/data/digits_seeds.npz

writes `labels` (360,), `hard_labels` (40, 360, 10) and `label_smoothing` (10, 360, 10): logits of
the test split, of which only the seed differs. The i-th network of a method has seed i, and so the
initial weights and the order of the images of the i-th network of the other method. About six
minutes of one CPU core.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from lsplus_tf.config import load_config
from lsplus_tf.experiments import run_experiment
from lsplus_tf.training import run_folder

SEEDS = {"hard_labels": range(40), "label_smoothing": range(10)}
CHANGES = [
    "backbone.width=0.25",
    "protocol.optimizer.learning_rate=0.003",
    "protocol.schedule={epochs: [7], factor: 0.1}",
    "protocol.epochs=9",
    "protocol.batch_size=64",
    "protocol.augmentation={shift: 0, rotation: 0, zoom: 0}",
    f"seeds={list(range(40))}",
]


def main(file: str) -> None:
    """Train and store; what is finished in the folder beside the file is kept."""
    experiment = load_config("digits", CHANGES)
    stored = {}
    with tempfile.TemporaryDirectory() as folder:
        for method, seeds in SEEDS.items():
            run_experiment(experiment, Path(folder), methods=[method], seeds=seeds)
            runs = [
                run_folder.read_predictions(Path(folder) / method / f"seed_{seed}", "test")
                for seed in seeds
            ]
            stored[method] = np.stack([run.logits for run in runs]).astype(np.float16)
    np.savez_compressed(file, labels=runs[0].labels.astype(np.uint8), **stored)


if __name__ == "__main__":
    main(sys.argv[1])
