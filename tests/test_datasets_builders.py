"""TensorFlow Datasets builders of the papers' data sets, with dummy data and no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from official_layouts import WRITERS, write_isic2018
from PIL import Image

from lsplus_tf.config import Dataset
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.builders import NAMES, builder_class
from lsplus_tf.datasets.folder import list_folder
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.datasets.record import Record
from lsplus_tf.errors import InputError, MissingDataError

CLASSES = {name: builder_class(name) for name in NAMES}
made: dict[str, Path] = {}


def dummy_data(name: str) -> Path:
    """A small data set in its publisher's layout, made once."""
    if name not in made:
        made[name] = WRITERS[name](Path(tempfile.mkdtemp(prefix=f"{name}-")))
    return made[name]


@pytest.fixture(scope="module", autouse=True)
def _remove_dummy_data():
    yield
    while made:
        shutil.rmtree(made.popitem()[1])


class _OfTheProject(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own test case, on dummy data that is made when it is needed."""

    __test__ = False

    def test_session(self, *args, **kwargs):  # TensorFlow's, which is no test
        return super().test_session(*args, **kwargs)

    test_session.__test__ = False  # type: ignore[attr-defined]

    @classmethod
    def setUpClass(cls) -> None:
        cls.EXAMPLE_DIR = str(dummy_data(cls.DATASET_CLASS.name))
        super().setUpClass()


class TestMhist(_OfTheProject):
    __test__ = True
    DATASET_CLASS = CLASSES["mhist"]
    SPLITS: ClassVar[dict[str, int]] = {"train": 16, "validation": 4, "test": 6}


class TestChaoyang(_OfTheProject):
    __test__ = True
    DATASET_CLASS = CLASSES["chaoyang"]
    BUILDER_CONFIG_NAMES_TO_TEST: ClassVar[list[str]] = ["authors"]
    SPLITS: ClassVar[dict[str, int]] = {"train": 36, "validation": 4, "test": 16}


class TestChaoyangGrouped(_OfTheProject):
    __test__ = True
    DATASET_CLASS = CLASSES["chaoyang"]
    BUILDER_CONFIG_NAMES_TO_TEST: ClassVar[list[str]] = ["grouped"]
    # One of ten slides.
    SPLITS: ClassVar[dict[str, int]] = {"train": 36, "validation": 4, "test": 16}


class TestIsic2018(_OfTheProject):
    __test__ = True
    DATASET_CLASS = CLASSES["isic2018"]
    SPLITS: ClassVar[dict[str, int]] = {"train": 21, "validation": 7, "test": 14}


class TestRadimagenet(_OfTheProject):
    __test__ = True
    DATASET_CLASS = CLASSES["radimagenet"]
    SPLITS: ClassVar[dict[str, int]] = {"train": 330, "validation": 9, "test": 11}


def prepare(name: str, data_dir: Path, manual_dir: Path):
    config = tfds.download.DownloadConfig(manual_dir=str(manual_dir), try_download_gcs=False)
    return tfds.load(
        name,
        data_dir=str(data_dir),
        with_info=True,
        download_and_prepare_kwargs={"download_config": config},
    )


@pytest.mark.parametrize(
    "name", [record.name for record in RECORDS.values() if record.list_files is not None]
)
def test_tfds_load_gives_what_is_listed(tmp_path, name):
    manual = dummy_data(name.partition("/")[0])
    splits, info = prepare(name, tmp_path, manual)
    files = list_files(name, data_dir=manual)
    assert files is not None
    assert tuple(info.features["label"].names) == files.class_names
    row_of = {str(key): row for row, key in enumerate(files.ids)}
    seen = []
    for part, examples in splits.items():
        for example in tfds.as_numpy(examples):
            row = row_of[example["id"].decode()]
            seen.append(row)
            assert files.parts[row] == part
            assert example["label"] == files.labels[row]
            if files.groups is not None:
                assert example["group"].decode() == files.groups[row]
            if files.votes is not None:
                np.testing.assert_array_equal(example["votes"], files.votes[row])
            # JPEGs differ by the decoder.
            pixels = np.asarray(Image.open(files.path(row)).convert("RGB"), np.int64)
            assert np.abs(pixels - example["image"]).max() <= 12
    assert sorted(seen) == list(range(len(files)))
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]
    dataset = load_dataset(f"tfds:{name}", data_dir=tmp_path)
    assert dataset.class_names == files.class_names
    assert len(dataset.validation) == (files.parts == "validation").sum()


def test_a_set_without_validation_images_has_the_splits_that_there_are(tmp_path, monkeypatch):
    for place in ("train/flat", "train/round", "test/flat", "test/round"):
        (tmp_path / "manual" / place).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((8, 8, 3), number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "manual" / place / f"{number}.png")
    record = Record(
        name="pebbles",
        source="stones",
        licence="CC0",
        get="https://example.org",
        classes=("flat", "round"),
        mark="train",
        folders=("pebbles",),
        list_files=lambda root: list_folder(Dataset(name=f"folder:{root}")),
    )
    monkeypatch.setitem(RECORDS, "pebbles", record)
    builder = builder_class("pebbles")(data_dir=str(tmp_path / "tfds"))
    config = tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual"))
    builder.download_and_prepare(download_config=config)
    assert {part: split.num_examples for part, split in builder.info.splits.items()} == {
        "train": 6,
        "test": 6,
    }


def test_the_folder_for_manual_downloads_is_tfds_own_unless_set(tmp_path):
    shutil.copytree(dummy_data("mhist"), tmp_path / "downloads" / "manual" / "MHIST")
    splits = tfds.load("mhist", data_dir=str(tmp_path))
    assert {part: len(examples) for part, examples in splits.items()} == TestMhist.SPLITS


def test_lesions_that_are_not_known(tmp_path):
    splits, _ = prepare("isic2018", tmp_path, write_isic2018(tmp_path / "manual", lesions=False))
    assert {example["group"] for example in tfds.as_numpy(splits["train"])} == {b""}


def test_a_truncated_image_is_named(tmp_path):
    manual = write_isic2018(tmp_path / "manual")
    path = manual / "ISIC2018_Task3_Test_Input/ISIC_0024335.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"ISIC_0024335\.jpg: cannot be read \("):
        prepare("isic2018", tmp_path, manual)


def test_without_the_data(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssertionError, match=r"Get the data from https://bmirds\.github\.io/MHIST"):
        prepare("mhist", tmp_path, tmp_path / "empty")
    (tmp_path / "empty" / "other.txt").touch()
    with pytest.raises(MissingDataError, match=r"mhist: expected a folder with annotations\.csv"):
        prepare("mhist", tmp_path, tmp_path / "empty")


@pytest.mark.parametrize("name", NAMES)
def test_metadata(name):
    metadata = CLASSES[name].get_metadata()
    assert metadata.description
    assert metadata.citation.count("{") == metadata.citation.count("}")
    assert "ml.task.image-classification" in metadata.tags


@pytest.mark.parametrize("first", ["lsplus_tf.datasets", "tensorflow_datasets"])
def test_builders_are_found_in_either_order_and_cost_nothing_before(first):
    second = {"lsplus_tf.datasets", "tensorflow_datasets"} - {first}
    code = (
        f"import sys, {first}\n"
        "print(sorted({'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))\n"
        f"import {second.pop()}\n"
        "import tensorflow_datasets as tfds\n"
        f"print([tfds.builder_cls(name).__module__ for name in {NAMES}])\n"
        f"print([len(tfds.builder_cls(name).get_metadata().citation) > 9 for name in {NAMES}])\n"
        "print(tfds.builder_cls('mnist').name, 'lsplus_tf.datasets' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, modules, cited, others = done.stdout.splitlines()
    assert imported == ("[]" if first == "lsplus_tf.datasets" else "['tensorflow_datasets']")
    assert modules.count("lsplus_tf.datasets.builders") == len(NAMES)
    assert cited == str([True] * len(NAMES))
    assert others == "mnist True"
