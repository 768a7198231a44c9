"""The papers' data sets in their publishers' layouts."""

from __future__ import annotations

import csv
import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from official_layouts import (
    ISIC_COLUMNS,
    ISIC_WORDS,
    MHIST_COLUMNS,
    WRITERS,
    save_csv,
    save_image,
    write_chaoyang,
    write_isic2018,
    write_mhist,
    write_radimagenet,
)
from sklearn.model_selection import train_test_split

from lsplus_tf.config import Augmentation, Experiment
from lsplus_tf.datasets import available_datasets, load_dataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.known import RECORDS, medmnist
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.training.run_folder import read_predictions

NAMES = [record.name for record in RECORDS.values() if record.list_files is not None]
PARTS = {"train": "train", "validation": "val", "test": "test"}


def listed(name: str, root: Path) -> FileList:
    files = list_files(name, data_dir=root)
    assert files is not None
    return files


def rows_of(files: FileList, part: str) -> dict[str, str]:
    """File names (the last part of the path) and class names of a split."""
    chosen = np.flatnonzero(files.parts == part)
    return {
        str(files.ids[i]).rpartition("/")[2]: files.class_names[files.labels[i]] for i in chosen
    }


def authors(folder: Path, part: str) -> dict[str, str]:
    """File names and labels of a split that the LS+ authors published."""
    table = pd.read_csv(folder / f"{PARTS[part]}_labels.csv", dtype=str)
    names = table["path"].str.rpartition("/")[2]
    assert names.is_unique
    return dict(zip(names, table["label"], strict=True))


def artifacts(shared: Path, name: str) -> Path:
    folder = shared / "lsplus-artifacts" / name
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return folder


# --- the authors' splits, name for name -----------------------------------------------------------


def test_mhist_is_the_authors(shared, tmp_path):
    published = artifacts(shared, "MHIST")
    shutil.copy(published / "annotations.csv", tmp_path)
    (tmp_path / "images").mkdir()
    annotations = pd.read_csv(published / "annotations.csv", index_col=0)
    for name in annotations.index:
        (tmp_path / "images" / name).touch()
    files = listed("mhist", tmp_path)
    assert {part: rows_of(files, part) for part in PARTS} == {
        part: authors(published, part) for part in PARTS
    }
    assert files.class_names == ("HP", "SSA")
    # Counts that methods.md took from the authors' files.
    for part, counts in {
        "train": [1236, 504],
        "validation": [309, 126],
        "test": [617, 360],
    }.items():
        assert np.bincount(files.labels[files.parts == part]).tolist() == counts
    names = [str(file).removeprefix("images/") for file in files.ids]
    for_ssa = annotations.loc[names, annotations.columns[1]].to_numpy()
    np.testing.assert_array_equal(files.votes, np.stack([7 - for_ssa, for_ssa], axis=1))


def chaoyang_lists(published: Path, root: Path) -> None:
    """train.json in the order of the authors' list, which is the publisher's, and test.json."""
    for part, source in (("train", "labels.csv"), ("test", "test_labels.csv")):
        table = pd.read_csv(published / source)
        names = f"{part}/" + table["path"].str.rpartition("/")[2]
        entries = [
            {"label": int(label), "name": name}
            for name, label in zip(names, table["label"], strict=True)
        ]
        (root / f"{part}.json").write_text(json.dumps(entries))
        (root / part).mkdir()
        for name in names:
            (root / name).touch()


def test_chaoyang_is_the_authors(shared, tmp_path):
    published = artifacts(shared, "chaoyang-data")
    chaoyang_lists(published, tmp_path)
    files = listed("chaoyang", tmp_path)
    for part in PARTS:
        expected = {name: int(label) for name, label in authors(published, part).items()}
        found = rows_of(files, part)
        assert {name: files.class_names.index(label) for name, label in found.items()} == expected
    assert files.class_names == ("normal", "serrated", "adenocarcinoma", "adenoma")
    assert files.votes is None
    groups = {part: set(files.groups[files.parts == part].tolist()) for part in PARTS}
    # What methods.md counts: 86 of the 87 slides of validation are in training too.
    assert len(groups["validation"]) == 87
    assert len(groups["validation"] & groups["train"]) == 86
    assert len(groups["test"]) == 81

    grouped = listed("chaoyang/grouped", tmp_path)
    assert rows_of(grouped, "test") == rows_of(files, "test")
    groups = {part: set(grouped.groups[grouped.parts == part].tolist()) for part in PARTS}
    assert not groups["validation"] & groups["train"]
    assert abs((grouped.parts == "validation").sum() - 403) < 60
    counts = np.bincount(grouped.labels[grouped.parts == "validation"], minlength=4)
    assert (counts >= 30).all()
    assert sorted(grouped.ids.tolist()) == sorted(files.ids.tolist())


def test_isic2018_is_the_authors(shared, tmp_path):
    published = artifacts(shared, "ISIC_2018")
    for word, part in zip(ISIC_WORDS, PARTS, strict=True):
        (tmp_path / f"ISIC2018_Task3_{word}_Input").mkdir()
        rows = []
        for name, label in authors(published, part).items():
            (tmp_path / f"ISIC2018_Task3_{word}_Input" / name).touch()
            rows.append((name[:-4], *(float(label == column) for column in ISIC_COLUMNS)))
        truth = f"ISIC2018_Task3_{word}_GroundTruth"
        save_csv(tmp_path / truth / f"{truth}.csv", ("image", *ISIC_COLUMNS), rows)
    files = listed("isic2018", tmp_path)
    assert {part: rows_of(files, part) for part in PARTS} == {
        part: authors(published, part) for part in PARTS
    }
    # Alphabetical, as the authors' networks have them.
    assert files.class_names == ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
    train = np.bincount(files.labels[files.parts == "train"])
    assert train.tolist() == [327, 514, 1099, 115, 1113, 6705, 142]
    assert files.groups is None


# --- what else is read ----------------------------------------------------------------------------


def test_splits_follow_the_order_of_the_file(tmp_path):
    files = listed("mhist", write_mhist(tmp_path))
    labels = files.labels[:20]
    train, validation = train_test_split(
        np.arange(20), test_size=0.2, random_state=42, shuffle=True, stratify=labels
    )
    assert sorted(np.flatnonzero(files.parts == "train")) == sorted(train)
    assert sorted(np.flatnonzero(files.parts == "validation")) == sorted(validation)


def test_votes_of_chaoyang(tmp_path):
    files = listed("chaoyang", write_chaoyang(tmp_path))
    # Patch 5 is of class 1 from slide 1: two annotators said 1, the third 2.
    assert files.ids[5] == "train/1_1-IMG001x001-1.JPG"
    assert files.votes[5].tolist() == [0, 2, 1, 0]
    assert (files.votes.sum(axis=1) == 3).all()
    assert files.groups[5] == "1_1"
    entries = json.loads((tmp_path / "test.json").read_text())
    for entry in entries:
        del entry["label_A"], entry["label_B"], entry["label_C"]
    (tmp_path / "test.json").write_text(json.dumps(entries))
    votes = listed("chaoyang", tmp_path).votes
    assert votes[files.parts == "test"].sum() == 0
    np.testing.assert_array_equal(votes[files.parts != "test"], files.votes[files.parts != "test"])
    entries[0]["label_A"] = 1
    (tmp_path / "test.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"test\.json: expected one column 'label_B', found 0"):
        listed("chaoyang", tmp_path)


def test_lesions_of_isic2018(tmp_path):
    files = listed("isic2018", write_isic2018(tmp_path))
    assert files.groups[:3].tolist() == ["HAM_0000000", "HAM_0000000", "HAM_0000001"]
    first = np.flatnonzero(files.parts == "validation")[0]
    assert files.ids[first] == f"ISIC2018_Task3_Validation_Input/{files.groups[first]}.jpg"
    path = tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(
        InputError, match=r"image: expected a row in ISIC.*, received 'ISIC_0024326' at line 22"
    ):
        listed("isic2018", tmp_path)


def test_classes_of_radimagenet(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = listed("radimagenet", write_radimagenet(tmp_path))
    assert len(files.class_names) == 165
    assert list(files.class_names) == sorted(files.class_names)
    assert files.ids[0] == "radiology_ai/US/organ164/000001.png"
    assert files.class_names[files.labels[0]] == "organ164"
    assert files.ids[1] == "radiology_ai/MR/abd/finding163/000002.png"
    table = pd.concat([pd.read_csv(tmp_path / f"RadiologyAI_{w}.csv") for w in PARTS.values()])
    assert [files.class_names[k] for k in files.labels] == table["label"].tolist()
    # The subsample of the OLS paper keeps the ids of all.
    dataset = load_dataset(
        "radimagenet", data_dir=tmp_path, image_size=8, channels=3, samples_per_class=1
    )
    assert dataset.counts()["train"].tolist() == [1] * 165
    assert dataset.class_names == files.class_names


def test_a_sample_of_radimagenet_is_told(tmp_path):
    with pytest.warns(UserWarning, match="expected 165 labels in .*train.csv, found 6") as caught:
        load_dataset(
            "radimagenet",
            data_dir=write_radimagenet(tmp_path, classes=6),
            image_size=8,
            channels=3,
        )
    assert caught[0].filename == __file__
    save_csv(
        tmp_path / "RadiologyAI_val.csv",
        ("filename", "label"),
        [("radiology_ai/CT/abd/finding000/new.png", "finding9")],
    )
    with (
        pytest.warns(UserWarning, match="found 6"),
        pytest.raises(
            InputError, match=r"val\.csv: label: expected one of .*, received 'finding9' at line 2"
        ),
    ):
        listed("radimagenet", tmp_path)


# --- where it is looked for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder"), [(name, folder) for name in NAMES for folder in RECORDS[name].folders]
)
def test_folders(tmp_path, name, folder):
    def present() -> bool | None:
        return {info.name: info for info in available_datasets(tmp_path)}[name].present

    with pytest.raises(
        MissingDataError, match=rf"{name}: expected a folder with .*; get it from https.* and put"
    ):
        list_files(name, data_dir=tmp_path)
    assert present() is False
    with pytest.raises(MissingDataError, match=r"received no data_dir \(--data-dir\)"):
        load_dataset(name)
    WRITERS[name.partition("/")[0]](tmp_path / folder)
    assert present() is True
    files = listed(name, tmp_path)
    assert files.name == name
    np.testing.assert_array_equal(files.ids, listed(name, tmp_path / folder).ids)
    assert all(files.path(i).is_file() for i in range(len(files)))


def test_sizes_and_terms_are_told():
    known = {info.name: info for info in available_datasets(None)}
    assert known["chaoyang"].sizes == {"train": 3618, "validation": 403, "test": 2139}
    assert sum(known["mhist"].sizes.values()) == 3152
    assert "Research Use Agreement" in known["mhist"].licence
    assert known["radimagenet"].put.startswith("DATA_DIR/RadImageNet: RadiologyAI_")
    assert not any(known[name].present for name in ("mhist", "chaoyang/grouped", "isic2018"))
    with pytest.raises(InputError, match="did you mean 'isic2018'"):
        load_dataset("isic2019")


# --- what is refused ------------------------------------------------------------------------------


def edit_csv(path: Path, line: int, column: int, value: str | None) -> None:
    """Set a cell of a CSV (the heading is line 1), or delete the line."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if value is None:
        del rows[line - 1]
    else:
        rows[line - 1][column] = value
    save_csv(path, rows[0], rows[1:])


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (1, 3, "Part", "expected one column 'Partition', found 0 among"),
        (1, 3, "Image Name", "expected one column 'Image Name', found 2 among"),
        (4, 0, "MHIST_zzz.png", r"1 images are not in .*: images/MHIST_zzz\.png \(line 4\)"),
        (4, 0, None, r"1 images in .* have no row: images/MHIST_a02\.png"),
        (
            4,
            0,
            "MHIST_a00.png",
            "Image Name: expected every image once, received 'MHIST_a00.png' at line 4",
        ),
        (
            4,
            0,
            "../MHIST_a02.png",
            r"Image Name: expected a plain path.* '\.\./MHIST_a02\.png' at line 4",
        ),
        (4, 0, "/etc/a.png", "Image Name: expected a plain path .* '/etc/a.png' at line 4"),
        (
            4,
            0,
            "./MHIST_a02.png",
            "Image Name: expected a plain path .* './MHIST_a02.png' at line 4",
        ),
        (4, 0, "C:\\a.png", "Image Name: expected a plain path .* at line 4"),
        (4, 1, "SSL", r"Label: expected one of 'HP', 'SSA', received 'SSL' at line 4 \(of 26"),
        (4, 1, "", r"Majority Vote Label: expected a value, received none at line 4"),
        (4, 2, "8", r"expected an integer in 0\.\.7, received '8' at line 4"),
        (4, 2, "-1", r"expected an integer in 0\.\.7, received '-1' at line 4"),
        (4, 2, "2.5", r"expected an integer .* '2\.5' at line 4"),
        (4, 2, "nan", r"SSA \(Out of 7\): expected a value, received none at line 4"),
        (4, 2, "2", r"expected a majority for the label .* '2' at line 4"),
        (4, 3, "val", "Partition: expected one of 'train', 'test', received 'val' at line 4"),
    ],
)
def test_defects_of_mhist(tmp_path, line, column, value, message):
    write_mhist(tmp_path)
    edit_csv(tmp_path / "annotations.csv", line, column, value)
    with pytest.raises(InputError, match=message) as caught:
        listed("mhist", tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "annotations.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a heading with the names of the columns in line 1, it is empty"),
        ("Image Name,Majority Vote Label\nx\n", "expected one column 'Number of"),
        (f'{",".join(MHIST_COLUMNS)}\n1,2,3\n"', "cannot be read as a table"),
    ],
)
def test_a_damaged_csv(tmp_path, text, message):
    write_mhist(tmp_path)
    (tmp_path / "annotations.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        listed("mhist", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_csv_with_blank_lines_and_a_byte_order_mark(tmp_path):
    write_mhist(tmp_path)
    path = tmp_path / "annotations.csv"
    before = listed("mhist", tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", *lines[1:], "", ""]), encoding="utf-8-sig")
    np.testing.assert_array_equal(listed("mhist", tmp_path).ids, before.ids)
    edit_csv(path, 5, 1, "SSL")
    with pytest.raises(InputError, match=r"Majority Vote Label: .* received 'SSL' at line 5"):
        listed("mhist", tmp_path)


def test_defects_of_isic2018(tmp_path):
    write_isic2018(tmp_path)
    truth = "ISIC2018_Task3_Test_GroundTruth"
    path = tmp_path / truth / f"{truth}.csv"
    edit_csv(path, 3, 1, "1.0")
    with pytest.raises(
        InputError,
        match=r"Test_GroundTruth\.csv: image: expected one 1 .*, received 'ISIC_\d+' at line 3",
    ):
        listed("isic2018", tmp_path)
    edit_csv(path, 3, 1, "0.5")
    with pytest.raises(
        InputError, match=r"MEL: expected an integer in 0\.\.1, received '0\.5' at line 3"
    ):
        listed("isic2018", tmp_path)
    path.unlink()
    with pytest.raises(MissingDataError, match=rf"{truth}\.csv: expected a labels file"):
        listed("isic2018", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": 4},
            r"train\.json: label: expected an integer in 0\.\.3, received '4' at entry 2",
        ),
        ({"label": None}, r"train\.json: label: expected a value, received none at entry 2"),
        (
            {"name": "train/1-x.JPG"},
            r"1 images are not in .*: train/1-x\.JPG \(entry 2\)",
        ),
        (
            {"name": "../a-IMG1.JPG"},
            r"name: expected a plain path .* '\.\./a-IMG1\.JPG' at entry 2",
        ),
        ({"name": "test/0_1-IMG000x001-1.JPG"}, r"test\.json: 'test/0_1.*' is also in .*train"),
    ],
)
def test_defects_of_chaoyang(tmp_path, change, message):
    write_chaoyang(tmp_path)
    path = tmp_path / "train.json"
    entries = json.loads(path.read_text())
    entries[1] |= change
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=message):
        listed("chaoyang", tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "[]"])
def test_a_damaged_json(tmp_path, text):
    write_chaoyang(tmp_path)
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(InputError, match=r"test\.json: (cannot be read as JSON|expected a)"):
        listed("chaoyang", tmp_path)


def test_a_name_without_a_slide(tmp_path):
    write_chaoyang(tmp_path)
    path = tmp_path / "train.json"
    entries = json.loads(path.read_text())
    save_image(tmp_path / "train/photo.JPG")
    path.write_text(json.dumps([*entries, {**entries[0], "name": "train/photo.JPG"}]))
    with pytest.raises(
        InputError, match=r"name: expected a name like .* 'train/photo\.JPG' at entry 41"
    ):
        listed("chaoyang", tmp_path)


def test_an_image_in_two_lists_of_radimagenet(tmp_path):
    write_radimagenet(tmp_path)
    shutil.copy(tmp_path / "RadiologyAI_val.csv", tmp_path / "RadiologyAI_test.csv")
    with pytest.raises(
        InputError, match=r"test\.csv: 'radiology_ai/.*' is also in .*val\.csv \(9 such images\)"
    ):
        listed("radimagenet", tmp_path)


def test_too_few_images_to_hold_out(tmp_path):
    with pytest.raises(
        InputError, match="mhist: validation split of 20%: class 'SSA' has 1 sample"
    ):
        listed("mhist", write_mhist(tmp_path, train=3))


# --- from the files to a trained network ----------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_load_train_and_evaluate(tmp_path, name):
    WRITERS[name.partition("/")[0]](tmp_path)
    files = listed(name, tmp_path)
    dataset = load_dataset(
        name, data_dir=tmp_path, image_size=16, channels=3, interpolation="nearest", cache="none"
    )
    test = files.parts == "test"
    np.testing.assert_array_equal(dataset.test.ids, files.ids[test])
    np.testing.assert_array_equal(dataset.test.labels, files.labels[test])
    if files.votes is not None:
        np.testing.assert_array_equal(dataset.test.votes, files.votes[test])
    if files.groups is not None:
        np.testing.assert_array_equal(dataset.test.groups, files.groups[test])
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(dataset.num_classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    evaluation = evaluation_batches(dataset.test, batch_size=8)
    model.fit(
        training_batches(
            dataset.train,
            batch_size=4,
            epochs=1,
            seed=0,
            augmentation=Augmentation(horizontal_flip=True),
        ),
        shuffle=False,
        verbose=0,
    )
    assert int(model.optimizer.iterations) == math.ceil(len(dataset.train) / 4)
    _, accuracy = model.evaluate(evaluation, verbose=0)
    logits = model.predict(evaluation, verbose=0)
    assert np.isfinite(logits).all()
    assert accuracy == pytest.approx(np.mean(logits.argmax(axis=1) == files.labels[test]))


class Silent:
    """An observer of training that says nothing."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.mark.usefixtures("linear_network")
def test_an_experiment_on_mhist(tmp_path):
    write_mhist(tmp_path / "MHIST")
    experiment = Experiment.model_validate(
        {
            "name": "tiny",
            "dataset": {
                "name": "mhist",
                "data_dir": str(tmp_path),
                "image_size": 16,
                "channels": 3,
                "interpolation": "nearest",
            },
            "backbone": {"name": "small_residual_cnn", "width": 0.1},
            "protocol": {"epochs": 1, "batch_size": 16},
            "methods": {"hard_labels": {"loss": "hard_labels"}},
            "seeds": [0],
        }
    )
    run_experiment(experiment, tmp_path / "out", observer=Silent())
    keras.config.set_dtype_policy("float32")
    predictions = read_predictions(Run("hard_labels", 0).folder(tmp_path / "out"), "test")
    files = listed("mhist", tmp_path)
    test = files.parts == "test"
    np.testing.assert_array_equal(predictions.labels, files.labels[test])
    np.testing.assert_array_equal(predictions.ids, files.ids[test])
    assert predictions.logits.shape == (6, 2)


# --- MedMNIST's MD5s ------------------------------------------------------------------------------


def test_md5_of_a_rebuilt_medmnist_file(shared):
    # The MD5 that medmnist 3.0.2 publishes, and what md5sum says of the file.
    official, rebuilt = "28209eda62fecd6e6a2d98b1501bb15f", "f8d3459b5cfd14df1a1c6f1ef00f1c00"
    with pytest.warns(UserWarning, match=f"MD5 {rebuilt}, expected {official} of the") as caught:
        load_dataset("pneumoniamnist", data_dir=shared / "data")
    assert caught[0].filename == __file__


def test_md5_only_where_a_file_claims_to_be_official(tmp_path, monkeypatch):
    arrays = {}
    for key, count in (("train", 546), ("val", 78), ("test", 156)):
        arrays[f"{key}_images"] = np.zeros((count, 4, 4), np.uint8)
        arrays[f"{key}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    path = tmp_path / "breastmnist_64.npz"
    np.savez(path, **arrays)
    official = "742edef2a1fd1524b2efff4bd7ba9364"  # of 64 pixels, from medmnist 3.0.2
    with pytest.warns(UserWarning, match=rf"breastmnist_64\.npz: MD5 .*, expected {official}"):
        load_dataset("breastmnist_64", data_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path.rename(tmp_path / "mynewmnist.npz")
        load_dataset("mynewmnist", data_dir=tmp_path)
        arrays["val_images"], arrays["val_labels"] = (
            arrays["val_images"][:9],
            arrays["val_labels"][:9],
        )
        np.savez(path, **arrays)
        load_dataset("breastmnist_64", data_dir=tmp_path)


def test_md5s_are_four_to_a_set_and_none_twice():
    md5s = [record.load.keywords["md5"] for record in medmnist.RECORDS]
    assert len(md5s) == 44
    assert len(set(md5s)) == 44
    assert all(len(md5) == 32 and set(md5) <= set("0123456789abcdef") for md5 in md5s)
