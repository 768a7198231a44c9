"""The papers' networks at their full size: minutes, so that only `make slow` runs them."""

from __future__ import annotations

import numpy as np
import pytest

from lsplus_tf.config import Experiment
from lsplus_tf.datasets import ImageDataset, Split
from lsplus_tf.training import run_folder
from lsplus_tf.training.train import Training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "head", "parameters"),
    [
        # Two classes, with the LS+ authors' head: methods.md A3.
        ("resnet34_preact", [1024, 512], 22_353_611),
        ("resnet50", [1024, 512], 26_211_714),
        # keras.applications without its top, and a layer of 1,280 x 2 + 2 or 512 x 2 + 2.
        ("mobilenet_v2", [], 2_257_984 + 2_562),
        ("vgg19", [], 20_024_384 + 1_026),
    ],
)
def test_an_epoch_at_224_pixels(tmp_path, network, head, parameters):
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = rng.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
        return Split(images, np.arange(count) % 2, np.arange(count).astype(np.str_))

    dataset = ImageDataset("generated", ("a", "b"), split(16), split(4), split(4))
    experiment = Experiment.model_validate(
        {
            "name": "full_size",
            "dataset": {"name": "generated", "image_size": 224},
            "backbone": {"name": network, "head": head},
            "protocol": {
                "epochs": 1,
                "batch_size": 8,
                "optimizer": {"name": "adam", "learning_rate": 1e-5},
            },
            "methods": {"online": {"loss": "online_label_smoothing"}},
            "seeds": [0],
        }
    )
    folder = tmp_path / "run"
    Training(folder, experiment, "online", 0, dataset).run()
    summary = run_folder.read_json(folder, run_folder.SUMMARY)
    assert summary["parameters"] == parameters
    assert summary["epochs"] == 1
    logits = run_folder.read_predictions(folder, "test").logits
    assert logits.shape == (4, 2)
    assert np.isfinite(logits).all()
    assert summary["performance"]["peak_process_bytes"] > 4 * parameters
