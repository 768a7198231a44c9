"""TensorFlow Datasets, from small sets prepared here without a network."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lsplus_tf.datasets import load_dataset
from lsplus_tf.errors import InputError, MissingDataError


class LsplusTiny(tfds.core.GeneratorBasedBuilder):
    """Six grey images in train and two in each other split."""

    VERSION = tfds.core.Version("1.0.0")
    PARTS = (("train", 6), ("valid", 2), ("test", 2))
    SHAPE = (4, 5, 1)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, self.SHAPE[2])),
                    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                    "note": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(count) for part, count in self.PARTS}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, self.example(i)

    def example(self, i):
        return {"image": np.full(self.SHAPE, i, np.uint8), "label": i % 2, "note": "x"}


class LsplusTrainOnly(LsplusTiny):
    PARTS = (("train", 20),)


class LsplusUnlabelled(LsplusTiny):
    def example(self, i):
        return super().example(i) | {"label": -1}


class LsplusUneven(LsplusTiny):
    def example(self, i):
        return super().example(i) | {"image": np.zeros((4 + i, 5, 1), np.uint8)}


class LsplusAlpha(LsplusTiny):
    SHAPE = (4, 5, 4)


class LsplusNoLabel(LsplusTiny):
    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(4, 5, 1))}),
        )

    def example(self, i):
        return {"image": np.zeros((4, 5, 1), np.uint8)}


class LsplusDeep(LsplusTiny):
    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 5, 1), dtype=np.uint16),
                    "label": tfds.features.ClassLabel(num_classes=2),
                }
            ),
        )

    def example(self, i):
        return {"image": np.zeros((4, 5, 1), np.uint16), "label": 0}


def prepare(builder_class, data_dir):
    builder_class(data_dir=data_dir).download_and_prepare()


def test_splits_labels_and_ids(tmp_path):
    prepare(LsplusTiny, tmp_path)
    dataset = load_dataset("tfds:lsplus_tiny", data_dir=tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (4, 5, 1)
    assert [len(split) for _, split in dataset.splits()] == [6, 2, 2]
    # Records come in the order of a hash, so look at the images.
    values = dataset.train.images[:, 3, 4, 0]
    assert sorted(values) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(dataset.train.labels, values % 2)
    assert all("lsplus_tiny-train" in str(sample) for sample in dataset.train.ids)
    again = load_dataset("tfds:lsplus_tiny", data_dir=tmp_path, image_size=4, channels=3)
    assert again.image_shape == (4, 4, 3)
    np.testing.assert_array_equal(again.train.ids, dataset.train.ids)
    np.testing.assert_array_equal(again.train.images[:, 0, 0, 2], values)


def test_missing_splits_are_carved(tmp_path):
    prepare(LsplusTrainOnly, tmp_path)
    dataset = load_dataset("tfds:lsplus_train_only", data_dir=tmp_path, validation_fraction=0.3)
    assert {part: list(c) for part, c in dataset.counts().items()} == {
        "train": [5, 5],
        "validation": [3, 3],
        "test": [2, 2],
    }


@pytest.mark.parametrize(
    ("builder_class", "message"),
    [
        (LsplusUnlabelled, "train sample '.*' has label -1, expected 0..1; splits without labels"),
        (LsplusUneven, r"images differ in shape .*; set dataset\.image_size"),
        (LsplusAlpha, "train sample '.*' has 4 channels, expected 1 or 3"),
        (LsplusNoLabel, r"expected features 'image' .* received 'image' \(Image\)"),
        (LsplusDeep, "expected uint8 images, received uint16"),
    ],
)
def test_refused(tmp_path, builder_class, message):
    prepare(builder_class, tmp_path)
    with pytest.raises(InputError, match=message):
        load_dataset(f"tfds:{builder_class.name}", data_dir=tmp_path)


def test_not_prepared_says_how_and_download_prepares(tmp_path, caplog):
    with pytest.raises(MissingDataError, match=r"not prepared under .*dataset\.download=true"):
        load_dataset("tfds:lsplus_tiny", data_dir=tmp_path)
    assert caplog.text == ""
    # This builder downloads nothing, so it can be prepared without a network.
    assert len(load_dataset("tfds:lsplus_tiny", data_dir=tmp_path, download=True).train) == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lsplus_nonsense", "TFDS has no data set of this name and none is prepared under"),
        ("lsplus_tiny/huge", "BuilderConfig huge not found"),
        ("lsplus_tiny:9.9.9", "cannot be loaded at version 9.9.9"),
        ("", "tfds:: "),
        ("kaggle:pets", "community sets .* are not supported"),
    ],
)
def test_unknown(tmp_path, name, message):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(f"tfds:{name}", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_memory_guard(tmp_path, monkeypatch):
    prepare(LsplusTiny, tmp_path)
    monkeypatch.setattr("lsplus_tf.datasets.images.MEMORY_SHARE", 1e-12)
    with pytest.raises(InputError, match="tfds:lsplus_tiny: 6 images of 4x5x1 need"):
        load_dataset("tfds:lsplus_tiny", data_dir=tmp_path)
