"""Splits, names, the digits and MedMNIST files."""

import shutil
import zipfile

import numpy as np
import pytest
from helpers import SHARED
from PIL import Image
from sklearn.datasets import load_digits as sklearn_digits

from lsplus_tf.config import Dataset
from lsplus_tf.datasets import ImageDataset, Split, available_datasets, images, load_dataset
from lsplus_tf.datasets.splitting import complete_splits
from lsplus_tf.errors import InputError, MissingDataError


def make_split(labels, *, shape=(4, 4, 1)):
    labels = np.array(labels, np.int64)
    pixels = np.zeros((len(labels), *shape), np.uint8)
    return Split(pixels, labels, np.array([f"s{i}" for i in range(len(labels))], dtype=np.str_))


def save_medmnist(path, *, shape=(4, 4), classes=2, count=6, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for key in ("train", "val", "test"):
        arrays[f"{key}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{key}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


@pytest.mark.parametrize(
    ("images_", "labels", "ids", "message"),
    [
        (np.zeros((2, 4, 4, 2), np.uint8), [0, 1], ["a", "b"], "images: expected uint8 of shape"),
        (np.zeros((2, 4, 4, 1)), [0, 1], ["a", "b"], "received float64 of shape"),
        (np.zeros((0, 4, 4, 1), np.uint8), [], [], "images: empty split"),
        (np.zeros((2, 0, 4, 1), np.uint8), [0, 1], ["a", "b"], "at least one pixel"),
        (
            np.zeros((2, 4, 4, 1), np.uint8),
            [0],
            ["a", "b"],
            r"labels: expected int64 of shape \(2,",
        ),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 1], ["a"], r"ids: expected str of shape \(2,"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 1], ["a", "a"], "ids: 'a' occurs more than once"),
    ],
)
def test_split_refuses(images_, labels, ids, message):
    with pytest.raises(InputError, match=message):
        Split(images_, np.array(labels, np.int64), np.array(ids, dtype=np.str_))


def test_text_labels_of_one_form(tmp_path):
    labels = np.array(["\u00e9", "e\u0301 ", "b", "c"] * 10)
    np.savez(tmp_path / "x.npz", train_images=np.zeros((40, 2, 2), np.uint8), train_labels=labels)
    assert load_dataset(f"npz:{tmp_path / 'x.npz'}").class_names == ("b", "c", "\u00e9")


def test_dataset_refuses():
    good = make_split([0, 1])
    with pytest.raises(InputError, match="x: expected at least two classes"):
        ImageDataset("x", ("a",), good, good, good)
    with pytest.raises(InputError, match="x: class names repeat"):
        ImageDataset("x", ("a", "a"), good, good, good)
    with pytest.raises(InputError, match=r"validation sample 's1' has label 7, expected 0..1"):
        ImageDataset("x", ("a", "b"), good, make_split([0, 7]), good)
    with pytest.raises(InputError, match="test sample 's0' has label -1"):
        ImageDataset("x", ("a", "b"), good, good, make_split([-1, 1]))
    with pytest.raises(InputError, match=r"test images have shape \(4, 5, 1\), train images"):
        ImageDataset("x", ("a", "b"), good, good, make_split([0, 1], shape=(4, 5, 1)))
    names = tuple(map(str, range(150)))
    with pytest.raises(InputError, match="no training sample of class 2, 3, 4 and 145 more; leave"):
        ImageDataset("x", names, good, good, good)
    with pytest.raises(InputError, match=r"class names repeat: 0, 1, 2 and 147 more$"):
        ImageDataset("x", names * 2, good, good, good)
    with pytest.raises(InputError, match="no training sample of class c, d"):
        ImageDataset("x", ("a", "b", "c", "d"), good, make_split([2]), good)


def test_counts():
    dataset = ImageDataset(
        "x", ("a", "b"), make_split([0, 1, 1]), make_split([1]), make_split([0, 0])
    )
    assert {part: list(c) for part, c in dataset.counts().items()} == {
        "train": [1, 2],
        "validation": [0, 1],
        "test": [2, 0],
    }
    assert (dataset.num_classes, dataset.image_shape) == (2, (4, 4, 1))


def test_carving_is_stratified_and_keeps_every_sample_once():
    pool = make_split([0] * 60 + [1] * 40)
    settings = Dataset(name="x", validation_fraction=0.1, test_fraction=0.2, split_seed=3)
    splits = complete_splits({"train": pool}, ("a", "b"), settings)
    counts = {part: list(np.bincount(split.labels)) for part, split in splits.items()}
    assert counts == {"test": [12, 8], "validation": [6, 4], "train": [42, 28]}
    assert sorted(np.concatenate([s.ids for s in splits.values()])) == sorted(pool.ids)


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([0] * 20 + [1], 0.2, "x: test_fraction=0.2: class 'b' has 1 sample to split"),
        ([0] * 5 + [1] * 5, 0.05, "splits 10 samples into 9 and 1, expected at least one of each"),
        ([0] * 98 + [1] * 2, 0.1, r"class 'b' has too few samples \(2\) to be in both parts"),
    ],
)
def test_carving_refuses_scarce_classes(labels, fraction, message):
    settings = Dataset(name="x", validation_fraction=fraction, test_fraction=fraction)
    with pytest.raises(InputError, match=message):
        complete_splits({"train": make_split(labels)}, ("a", "b"), settings)


def test_digits():
    dataset = load_dataset("digits")
    # The class counts that scikit-learn's description of the set states by its sum, 1,797.
    totals = sum(dataset.counts().values())
    assert list(totals) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert [len(s) for _, s in dataset.splits()] == [1077, 360, 360]
    assert dataset.image_shape == (8, 8, 1)
    original = sklearn_digits()
    for _, split in dataset.splits():
        index = int(split.ids[0].removeprefix("digits-"))
        np.testing.assert_allclose(
            split.images[0, :, :, 0] / 255, original.images[index] / 16, atol=0.5 / 255
        )
        assert split.labels[0] == original.target[index]
    assert dataset.train.images.max() == 255


def test_digits_split_depends_on_the_seed_alone():
    first, again, other = (load_dataset("digits", split_seed=s).test.ids for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_resizing_and_channels_are_pillows():
    small, large = load_dataset("digits"), load_dataset("digits", image_size=13, channels=3)
    expected = Image.fromarray(small.test.images[5, :, :, 0]).resize(
        (13, 13), Image.Resampling.BILINEAR
    )
    assert large.image_shape == (13, 13, 3)
    for channel in range(3):
        np.testing.assert_array_equal(large.test.images[5, :, :, channel], np.asarray(expected))
    np.testing.assert_array_equal(
        load_dataset("digits", channels=3).test.images, np.repeat(small.test.images, 3, axis=3)
    )


def test_colour_to_grey_is_itu_r_601(tmp_path):
    arrays = save_medmnist(tmp_path / "dermamnist_64.npz", shape=(4, 5, 3), classes=7, count=7)
    dataset = load_dataset("dermamnist_64", data_dir=tmp_path, channels=1)
    luma = arrays["val_images"] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(dataset.validation.images[..., 0], luma, atol=0.51)
    assert dataset.class_names[4] == "melanoma"
    assert load_dataset("dermamnist_64", data_dir=tmp_path).image_shape == (4, 5, 3)


def test_medmnist_of_unknown_name_has_numbers_for_classes(tmp_path):
    arrays = save_medmnist(tmp_path / "newmnist.npz", classes=3)
    dataset = load_dataset("newmnist", data_dir=str(tmp_path))
    assert dataset.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.test.images[..., 0], arrays["test_images"])
    assert dataset.train.ids[1] == "train-000001"
    assert dataset.train.labels.dtype == np.int64


def test_pneumoniamnist():
    if not (SHARED / "data/pneumoniamnist.npz").is_file():
        pytest.skip("../shared/data/pneumoniamnist.npz is not there")
    dataset = load_dataset("pneumoniamnist", data_dir=SHARED / "data")
    # MedMNIST's published sizes.
    assert [len(split) for _, split in dataset.splits()] == [4708, 524, 624]
    assert dataset.class_names == ("normal", "pneumonia")
    assert list(dataset.counts()["test"]) == [234, 390]


def test_medmnist_missing_file(tmp_path):
    with pytest.raises(
        MissingDataError, match=rf"{tmp_path} has none; .*zenodo.* into {tmp_path}$"
    ):
        load_dataset("pneumoniamnist", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"received no data_dir \(--data-dir\).*DATA_DIR$"):
        load_dataset("pneumoniamnist")


IMAGES = np.zeros((6, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": None}, "key 'val_labels' is missing, found"),
        (
            {"val_images": IMAGES.astype(float)},
            "val_images: expected uint8 of shape .* received float64",
        ),
        ({"val_images": IMAGES[..., 0]}, "val_images: expected uint8 of shape"),
        ({"val_labels": np.zeros((6, 14), np.uint8)}, "expected one label per image, received 14"),
        ({"val_labels": np.full((6, 1), 0.5)}, "val_labels: expected integers"),
        ({"val_labels": np.zeros((5, 1), int)}, "val: .* received 6 images and 5 labels"),
        (
            {"val_images": IMAGES[:0], "val_labels": np.zeros((0, 1), int)},
            "val: .* received 0 images",
        ),
        ({"val_labels": np.full((6, 1), 2)}, "validation sample 'val-000000' has label 2"),
        ({"val_labels": np.array([None] * 6)}, "val_labels: holds Python objects"),
    ],
)
def test_medmnist_refuses(tmp_path, changes, message):
    save_medmnist(tmp_path / "pneumoniamnist.npz", **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("pneumoniamnist", data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert "pneumoniamnist" in str(caught.value)


# --- arrays of one's own --------------------------------------------------------------------------


def save_own(path, *, splits=("train", "val", "test"), count=20, labels=None, **changes):
    """Image i of split k has pixels 10 k + i; labels are i % 2, as `labels` makes them."""
    arrays = {}
    for k, key in enumerate(splits):
        pixels = (10 * k + np.arange(count)).astype(np.uint8)
        arrays[f"{key}_images"] = np.broadcast_to(pixels[:, None, None], (count, 4, 5))
        plain = np.arange(count) % 2
        arrays[f"{key}_labels"] = plain if labels is None else labels(plain)
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return f"npz:{path}"


FORMS = {
    "(N,)": (lambda y: y, ("0", "1")),
    "(N, 1)": (lambda y: y[:, None].astype(np.uint8), ("0", "1")),
    "other integers": (lambda y: 1 + 8 * y, ("1", "9")),
    "signs": (lambda y: 2 * y - 1, ("-1", "1")),
    "text": (lambda y: np.array(["ant", "bee"])[y], ("ant", "bee")),
    "text with blanks": (lambda y: np.array(["ant ", " bee"])[y][:, None], ("ant", "bee")),
    "bytes": (
        lambda y: np.char.encode(np.array(["ant", "b\u00e9"])[y], "utf-8"),
        ("ant", "b\u00e9"),
    ),
    "numbers as text": (lambda y: np.array(["9", "10"])[y], ("9", "10")),
    "floats": (lambda y: y.astype(np.float64), ("0", "1")),
    "one 1 in a row": (lambda y: np.eye(2, dtype=np.uint8)[y], ("0", "1")),
    "one 1.0 in a row": (lambda y: np.eye(2)[y], ("0", "1")),
    "truths": (lambda y: np.eye(2, dtype=bool)[y], ("0", "1")),
}


@pytest.mark.parametrize("form", FORMS)
def test_own_arrays(tmp_path, form):
    labels, names = FORMS[form]
    dataset = load_dataset(save_own(tmp_path / "own.npz", labels=labels))
    assert dataset.class_names == names
    for k, (_, split) in enumerate(dataset.splits()):
        assert split.labels.tolist() == [0, 1] * 10
        assert split.images[:, 2, 3, 0].tolist() == [10 * k + i for i in range(20)]
    assert dataset.validation.ids[3] == "val-000003"


def test_arrays_that_are_not_used_are_told(tmp_path):
    name = save_own(tmp_path / "own.npz", groups=np.arange(20), train_groups=np.arange(20))
    with pytest.warns(UserWarning, match=r"not used: groups, train_groups; groups, .*csv:") as told:
        load_dataset(name)
    assert told[0].filename == __file__


@pytest.mark.parametrize("keys", [("train", "validation", "test"), ("Train", "valid", "TEST")])
def test_keys_of_own_arrays(tmp_path, keys):
    dataset = load_dataset(save_own(tmp_path / "own.npz", splits=keys))
    assert [split.images[0, 0, 0, 0] for _, split in dataset.splits()] == [0, 10, 20]


@pytest.mark.parametrize("splits", [("train",), ("train", "test"), ("train", "val")])
def test_splits_that_own_arrays_lack_are_carved(tmp_path, splits):
    dataset = load_dataset(save_own(tmp_path / "own.npz", splits=splits), split_seed=3)
    sizes = {part: len(split) for part, split in dataset.splits()}
    given = {{"val": "validation"}.get(key, key) for key in splits} - {"train"}
    assert sizes == {
        "train": 20 - 4 * (2 - len(given)),
        **{part: 20 if part in given else 4 for part in ("validation", "test")},
    }
    carved = [i for part, s in dataset.splits() if part not in given for i in s.ids.tolist()]
    assert sorted(carved) == [f"train-{i:06}" for i in range(20)]


def test_class_names_in_the_file(tmp_path):
    names = np.array(["ant", "bee"])
    for labels in (None, lambda y: np.eye(2)[y], lambda y: names[y].astype("S")):
        name = save_own(tmp_path / "own.npz", labels=labels, class_names=names)
        dataset = load_dataset(name)
        assert dataset.class_names == ("ant", "bee")
        assert dataset.test.labels.tolist() == [0, 1] * 10
    name = save_own(tmp_path / "own.npz", labels=lambda y: names[y], class_names=names[::-1])
    assert load_dataset(name).test.labels.tolist() == [1, 0] * 10


def test_labels_are_resolved_over_all_splits(tmp_path):
    """A class that a split lacks must not shift the others' numbers."""
    text = np.array(["ant", "bee", "cow"])
    changes = {"train_labels": text[np.arange(20) % 3], "test_labels": text[1 + np.arange(20) % 2]}
    name = save_own(tmp_path / "own.npz", labels=lambda y: text[2 * y], **changes)
    dataset = load_dataset(name)
    assert dataset.class_names == ("ant", "bee", "cow")
    assert dataset.validation.labels.tolist() == [0, 2] * 10
    assert dataset.test.labels.tolist() == [1, 2] * 10


BIG = np.zeros((20, 4, 5), np.uint16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": BIG}, "received uint16 .*divide all by one number"),
        ({"train_images": BIG / 1.0}, "received float64 .*255 \\* images"),
        ({"train_images": np.zeros((20, 3, 4, 5), np.uint8)}, "channels last: np.moveaxis"),
        ({"train_images": np.zeros((20, 4, 5, 4), np.uint8)}, "train_images: expected uint8 of sh"),
        ({"train_labels": np.full((20, 3), 1)}, "one label per image, received 3, and not one 1"),
        ({"train_labels": np.eye(2)[[0] * 20] / 2}, "one label per image, received 2"),
        ({"train_labels": np.eye(3)[[0, 1] * 10]}, None),
        (
            {"val_labels": np.eye(3)[[0, 1] * 10], "test_labels": np.eye(2)[[0, 1] * 10]},
            r"\[2, 3\]",
        ),
        ({"train_labels": np.linspace(0, 1, 20)}, "expected integers or text .*received float64"),
        (
            {"train_labels": np.array([0, np.inf] * 10)},
            "expected integers or text .*received float",
        ),
        ({"train_labels": np.array(["a", ""] * 10)}, "expected text, received '' at row 1"),
        ({"train_labels": np.array(["a", np.nan] * 10)}, "expected text, received 'nan' at row 1"),
        ({"class_names": np.array(["a", " NaN"])}, "expected text, received 'NaN' at row 1"),
        ({"train_labels": np.array([b"\xff", b"a"] * 10)}, "expected text in UTF-8"),
        ({"train_labels": np.array(["a", "b"] * 10)}, "integers or text in all splits, found both"),
        ({"train_labels": np.array(["a", "b"] * 10, object)}, r"with \.astype\(str\)"),
        ({"train_labels": None}, "key 'train_labels' is missing, found"),
        ({"val_images": None}, "key 'val_images' is missing, found"),
        ({"valid_images": BIG, "valid_labels": BIG}, "val_images and valid_images are both"),
        ({"dev_images": BIG, "dev_labels": BIG}, "'val' and 'dev' could both be the validation"),
        ({"class_names": np.arange(2)}, "class_names: expected text of shape"),
        (
            {"class_names": np.array(["x", "x"])},
            "class_names: expected different names, .*'x', 'x'",
        ),
        (
            {"train_labels": np.array([0, 2] * 10), "class_names": np.array(["a", "b"])},
            "train sample 'train-000001' has label 2, expected 0..1",
        ),
        (  # also where splits are carved
            {"train_labels": np.array([0, 2] * 10), "class_names": np.array(["a", "b"])}
            | dict.fromkeys(("val_images", "val_labels")),
            "train sample 'train-000001' has label 2, expected 0..1",
        ),
        (
            {f"{key}_labels": np.array(["a", "b"] * 10) for key in ("train", "val", "test")}
            | {"class_names": np.array(["b", "c"])},
            r"train_labels: expected one of \['b', 'c'\], received 'a'",
        ),
        ({"test_images": BIG[:3].astype(np.uint8)}, "test: .* 3 images and 20 labels"),
    ],
)
def test_own_arrays_refuse(tmp_path, changes, message):
    name = save_own(tmp_path / "own.npz", **changes)
    if message is None:  # a class that no sample has is none
        assert load_dataset(name).class_names == ("0", "1")
        return
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value)


def zip_of(path, names, content=b"text"):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content)


BROKEN_ARRAYS = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("train_images"),
    "no arrays": lambda path: np.savez(path),
    "one array": lambda path: np.savez(path, images=np.zeros((3, 4, 4), np.uint8)),
    "another zip": lambda path: zip_of(path, ["a.txt"]),
    "text in the arrays' places": lambda path: zip_of(path, ["train_images", "train_labels"]),
    "no headers": lambda path: zip_of(path, ["train_images.npy", "train_labels.npy"]),
    "a wrong header": lambda path: zip_of(
        path, ["train_images.npy", "train_labels.npy"], b"\x93NUMPY\x01\x00\x06\x00{'a':("
    ),
    "an array of terabytes": lambda path: zip_of(
        path,
        ["train_images.npy", "train_labels.npy"],
        b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 9)}".ljust(70),
    ),
    "a number": lambda path: np.savez(path, train_images=np.uint8(3), train_labels=3),
    "records": lambda path: np.savez(
        path, train_images=np.zeros(3, "u1,u1"), train_labels=np.zeros(3, "u1,u1")
    ),
}


@pytest.mark.parametrize("kind", BROKEN_ARRAYS)
def test_broken_arrays_are_refused_in_a_line(tmp_path, kind):
    BROKEN_ARRAYS[kind](tmp_path / "own.npz")
    with pytest.raises(InputError, match=r"own\.npz: ") as caught:
        load_dataset(f"npz:{tmp_path / 'own.npz'}")
    assert "\n" not in str(caught.value)


def test_medmnist_damaged_file(tmp_path):
    path = tmp_path / "pneumoniamnist.npz"
    save_medmnist(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (b"", b"no archive", whole[:middle], whole[:200] + b"!" * 8 + whole[208:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"pneumoniamnist\.npz: cannot be read"):
            load_dataset("pneumoniamnist", data_dir=tmp_path)
    np.save(tmp_path / "array.npy", IMAGES)
    shutil.move(tmp_path / "array.npy", path)
    with pytest.raises(InputError, match=r"cannot be read as NPZ|holds Python objects"):
        load_dataset("pneumoniamnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size: expected at least 4, received 0"),
        ({"channels": 2}, "channels: expected 1 or 3, received 2"),
        ({"split_seed": -1}, "split_seed: expected at least 0, received -1"),
        ({"validation_fraction": 0.0}, "validation_fraction: expected more than 0, received 0.0"),
        ({"test_fraction": 1.0}, "test_fraction: expected less than 1, received 1.0"),
        ({"test_fraction": float("nan")}, "test_fraction: .* received nan"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "expected less than 1, received 0.5"),
        ({"split_seed": 2**32}, "split_seed: expected less than 4294967296, received 4294967296"),
        ({"image_sise": 8}, "image_sise: unknown key, did you mean 'image_size'"),
        ({"unreadable": "ignore"}, "unreadable: expected 'fail' or 'skip', received 'ignore'"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset("digits", **arguments)


def test_unknown_names(tmp_path):
    with pytest.raises(
        InputError, match=r"unknown name, did you mean 'pneumoniamnist'.*folder:PATH"
    ):
        load_dataset("pneumonamnist", data_dir=tmp_path)
    with pytest.raises(InputError, match=r"'zzzzzz': unknown name; known are digits, .*tfds:NAME"):
        load_dataset("zzzzzz")
    with pytest.raises(InputError, match=r"'mhits': unknown name, did you mean 'mhist'"):
        load_dataset("mhits")


def test_memory_guard(monkeypatch):
    monkeypatch.setattr(images.os, "sysconf", lambda key: 1000)
    # A million bytes: 800,000 may be used.
    images.check_memory(800_000, 1, 1, 1, "x")
    with pytest.raises(InputError, match=r"x: 800001 images of 1x1x1 need .* more than 80% of"):
        images.check_memory(800_001, 1, 1, 1, "x")
    with pytest.raises(InputError, match="digits: 1797 images of 64x64x1"):
        load_dataset("digits", image_size=64)


def test_catalogue(tmp_path):
    save_medmnist(tmp_path / "pneumoniamnist_64.npz")
    known = {info.name: info for info in available_datasets(tmp_path)}
    assert known["digits"].present
    assert known["pneumoniamnist_64"].present
    assert not known["pneumoniamnist"].present
    assert known["pneumoniamnist"].put == str(tmp_path / "pneumoniamnist.npz")
    assert "pathmnist_64" not in known
    assert {"mhist", "chaoyang", "isic2018", "radimagenet", "folder:PATH"} <= set(known)
    assert known["isic2018"].sizes == {"train": 10015, "validation": 193, "test": 1512}
    assert len(available_datasets(None)) == len(known) - 1
