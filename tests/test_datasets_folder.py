"""Folders of image files."""

import shutil

import numpy as np
import pytest
from helpers import SHARED
from PIL import Image

from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.image_files import read_header
from lsplus_tf.errors import InputError, MissingDataError


def save(path, *, mode="L", size=(5, 4), value=7, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in "L1I;16" else (value,) * len(mode)).save(path, **options)
    return path


def fill(root, *, splits=("train", "val", "test"), classes=("cat", "dog"), count=2, **options):
    for split in splits:
        for k, class_name in enumerate(classes):
            for i in range(count):
                save(root / split / class_name / f"{i}.png", value=10 * k + i, **options)
    return root


def test_layout(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", splits=("Training", "VALID", "testing"))
    save(root / "Training/dog/photo.JPEG", value=99)
    save(root / "Training/dog/.hidden.png")
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset("folder:set")
    assert dataset.name == "folder:set"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (4, 5, 1)
    assert list(dataset.train.ids) == [
        "Training/cat/0.png",
        "Training/cat/1.png",
        "Training/dog/0.png",
        "Training/dog/1.png",
        "Training/dog/photo.JPEG",
    ]
    assert list(dataset.train.labels) == [0, 0, 1, 1, 1]
    assert list(dataset.train.images[:, 2, 3, 0]) == [0, 1, 10, 11, 99]
    assert dataset.skipped == ()
    assert load_dataset(f"folder:{root}").test.ids[0] == "testing/cat/0.png"


def test_missing_splits_are_carved_from_train(tmp_path):
    fill(tmp_path, splits=("train",), count=10)
    dataset = load_dataset(f"folder:{tmp_path}", validation_fraction=0.1, test_fraction=0.2)
    assert {part: list(c) for part, c in dataset.counts().items()} == {
        "train": [7, 7],
        "validation": [1, 1],
        "test": [2, 2],
    }
    every = [str(i) for _, split in dataset.splits() for i in split.ids]
    assert sorted(every) == sorted(f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(10))


def test_classes_without_splits(tmp_path):
    for class_name, count in (("cat", 10), ("dog", 20)):
        for i in range(count):
            save(tmp_path / class_name / f"{i:02}.png", value=i)
    dataset = load_dataset(f"folder:{tmp_path}", split_seed=3)
    assert {part: list(c) for part, c in dataset.counts().items()} == {
        "train": [6, 12],
        "validation": [2, 4],
        "test": [2, 4],
    }
    every = {str(i) for _, split in dataset.splits() for i in split.ids}
    assert every == {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")}
    again = load_dataset(f"folder:{tmp_path}", split_seed=3)
    other = load_dataset(f"folder:{tmp_path}", split_seed=4)
    assert again.test.ids.tolist() == dataset.test.ids.tolist() != other.test.ids.tolist()
    (tmp_path / "eel").mkdir()
    with pytest.raises(InputError, match=r"class folder eel holds no \.png, \.jpg, .* file"):
        load_dataset(f"folder:{tmp_path}")
    save(tmp_path / "eel/1.png")
    with pytest.raises(InputError, match="class 'eel' has 1 sample to split, expected at least 2"):
        load_dataset(f"folder:{tmp_path}")


def test_groups_from_the_names(tmp_path):
    for i in range(60):
        save(tmp_path / f"{'ab'[i % 2]}/slide{i // 4}-IMG{i:03}.png", value=i)
    name = f"folder:{tmp_path}"
    dataset = load_dataset(name, group_pattern="([^/]*)-IMG")
    groups = [set(split.groups.tolist()) for _, split in dataset.splits()]
    assert set.union(*groups) == {f"slide{i}" for i in range(15)}
    assert sum(map(len, groups)) == 15
    assert dataset.test.groups[0] == dataset.test.ids[0].split("/")[1].split("-")[0]
    whole = load_dataset(name, group_pattern=r"slide\d+").train.groups
    assert set(whole) < {f"slide{i}" for i in range(15)}
    save(tmp_path / "a/IMG7.png")
    for pattern in ("slide", "(slide)?IMG7|(IMG)", "(s?)[l-m]*IMG"):
        with pytest.raises(InputError, match=r"group_pattern=.* is not found in a/.* such files\)"):
            load_dataset(name, group_pattern=pattern)
    with pytest.raises(InputError, match=r"group_pattern='\(': missing \)"):
        load_dataset(name, group_pattern="(")


def test_duplicates_in_a_folder_are_dropped(tmp_path):
    for i in range(8):
        for class_name in ("cat", "dog"):
            save(tmp_path / class_name / f"{i}.png", value=20 * i + (class_name == "dog"))
    (tmp_path / "dog/9.png").write_bytes((tmp_path / "dog/3.png").read_bytes())
    with pytest.warns(UserWarning, match=r"skipped 1 duplicates: dog/9\.png"):
        dataset = load_dataset(f"folder:{tmp_path}", drop=["duplicates"])
    assert len(dataset) == 16


def test_resized_images_are_pillows(tmp_path):
    fill(tmp_path, mode="RGB")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test/dog/1.png")
    expected = Image.fromarray(pixels).resize((6, 6), Image.Resampling.BILINEAR)
    dataset = load_dataset(f"folder:{tmp_path}", image_size=6)
    np.testing.assert_array_equal(dataset.test.images[-1], np.asarray(expected))
    grey = load_dataset(f"folder:{tmp_path}", image_size=6, channels=1)
    expected = Image.fromarray(pixels).convert("L").resize((6, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(grey.test.images[-1, :, :, 0], np.asarray(expected))


def test_exif_orientation_is_followed(tmp_path):
    fill(tmp_path)
    pixels = np.zeros((5, 4), np.uint8)
    pixels[0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees: the first row becomes the last column
    Image.fromarray(pixels).save(tmp_path / "test/dog/1.png", exif=exif)
    turned = load_dataset(f"folder:{tmp_path}").test.images[-1, :, :, 0]
    assert turned.shape == (4, 5)
    assert (turned[:, 4] == 200).all()
    assert (turned[:, :4] == 0).all()


def test_channels(tmp_path):
    fill(tmp_path)
    name = f"folder:{tmp_path}"
    save(tmp_path / "train/cat/c.png", mode="RGB", value=50)
    with pytest.raises(InputError, match=r"12 grey images|set dataset\.channels to 1 or 3"):
        load_dataset(name)
    assert load_dataset(name, channels=3).image_shape == (4, 5, 3)
    assert load_dataset(name, channels=1).train.images[2, 0, 0, 0] == 50
    save(tmp_path / "train/cat/c.png", mode="LA", value=50)
    with pytest.raises(InputError, match=r"train/cat/c\.png has an alpha channel \(1 such files\)"):
        load_dataset(name)
    assert load_dataset(name, channels=1).train.images[2, 0, 0, 0] == 50


def write_16_bit_rgb(path):
    """Write a PNG of 5x4 pixels with 16 bits per channel, by hand: Pillow cannot."""
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + b"\1\2" * 15 for _ in range(4)))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_more_than_8_bits_are_refused(tmp_path):
    fill(tmp_path)
    save(tmp_path / "val/cat/1.png", mode="I;16", value=300)
    with pytest.raises(InputError, match=r"expected 8 bits per channel, val/cat/1\.png has more"):
        load_dataset(f"folder:{tmp_path}", channels=1)
    write_16_bit_rgb(tmp_path / "val/cat/1.png")
    with pytest.raises(InputError, match=r"expected 8 bits per channel, val/cat/1\.png has more"):
        load_dataset(f"folder:{tmp_path}", channels=3)


@pytest.mark.parametrize("size", [None, 4])
def test_more_than_8_bits_are_refused_whatever_is_skipped(tmp_path, size):
    """Also where all is told already, so that no header is read."""
    name = f"folder:{fill(tmp_path)}"
    save(tmp_path / "val/cat/1.png", mode="I;16", value=300)
    options = {"image_size": size, "channels": 1}
    remedy = r"val/cat/1\.png has more \(1 such files\); set dataset\.scaling, or convert them to 8 bits$"
    for unreadable in ("fail", "skip"):
        with pytest.raises(InputError, match=remedy) as refusal:
            load_dataset(name, unreadable=unreadable, **options)
        assert "unreadable" not in str(refusal.value)
    (tmp_path / "val/cat/0.png").write_bytes(b"")
    with pytest.raises(
        InputError, match=rf"1 unreadable images: val/cat/0.*unreadable=skip; .*{remedy}"
    ):
        load_dataset(name, **options)
    with pytest.raises(InputError, match=remedy) as refusal:
        load_dataset(name, unreadable="skip", **options)
    assert "unreadable" not in str(refusal.value)
    with pytest.raises(InputError, match=remedy):
        load_dataset(name, unreadable="skip", cache="none", **options)
    assert read_header(tmp_path / "val/cat/1.png", size_matters=False).grey


def test_sizes_must_agree(tmp_path):
    fill(tmp_path)
    save(tmp_path / "test/cat/0.png", size=(9, 4))
    with pytest.raises(
        InputError, match=r"2 sizes \(train/cat/0.png is 5x4, test/cat/0.png is 9x4\).*image_size"
    ):
        load_dataset(f"folder:{tmp_path}")
    assert load_dataset(f"folder:{tmp_path}", image_size=4).image_shape == (4, 4, 1)


def break_files(root):
    for i in range(2, 7):
        whole = save(root / f"train/dog/{i}.png", size=(5, 4)).read_bytes()
        # Cut within the header, or within the pixels.
        (root / f"train/dog/{i}.png").write_bytes(whole[:20] if i % 2 else whole[:-30])
    (root / "test/cat/1.png").write_bytes(b"")
    return [f"train/dog/{i}.png" for i in range(2, 7)] + ["test/cat/1.png"]


def test_unreadable_files(tmp_path):
    broken = break_files(fill(tmp_path))
    with pytest.raises(InputError, match=r"6 unreadable images: .*and 3 more.*unreadable=skip"):
        load_dataset(f"folder:{tmp_path}")
    with pytest.warns(
        UserWarning, match="skipped 6 unreadable images: train/dog/2.png, .* and 3 more"
    ) as record:
        dataset = load_dataset(f"folder:{tmp_path}", unreadable="skip")
    assert record[0].filename == __file__
    assert sorted(dataset.skipped) == sorted(broken)
    assert list(dataset.counts()["train"]) == [2, 2]
    assert list(dataset.test.ids) == ["test/cat/0.png", "test/dog/0.png", "test/dog/1.png"]
    assert list(dataset.test.images[:, 0, 0, 0]) == [0, 10, 11]


def test_a_split_with_no_readable_file(tmp_path):
    fill(tmp_path)
    for path in (tmp_path / "val").rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(
        InputError, match="no readable image in the validation split; unreadable: val/cat/0"
    ):
        load_dataset(f"folder:{tmp_path}", unreadable="skip")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match="12 unreadable images"):
        load_dataset(f"folder:{tmp_path}")


def test_missing_folder(tmp_path):
    with pytest.raises(MissingDataError, match=r"expected a folder, .*nowhere is none"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(MissingDataError, match="folder:: expected a folder"):
        load_dataset("folder:")


def test_layout_errors(tmp_path):
    name = f"folder:{tmp_path}"
    layouts = r"as PATH/CLASS/\* or PATH/train/CLASS/\*"
    with pytest.raises(InputError, match=f"{layouts}, found no folder and 0 images"):
        load_dataset(name)
    save(tmp_path / "single/1.png")
    with pytest.raises(
        InputError, match=rf"{layouts}, found no folder and 1 images; .* \(csv:FILE"
    ):
        load_dataset(f"folder:{tmp_path / 'single'}")
    shutil.rmtree(tmp_path / "single")
    fill(tmp_path, splits=("test",))
    with pytest.raises(InputError, match=r"expected a split 'train'.*found \['test'\]"):
        load_dataset(name)
    fill(tmp_path, splits=("train", "Training"))
    with pytest.raises(InputError, match="'Training' and 'train' are both a train split"):
        load_dataset(name)


def test_class_errors(tmp_path):
    fill(tmp_path)
    name = f"folder:{tmp_path}"
    (tmp_path / "train/eel").mkdir()
    (tmp_path / "train/eel/a.nii").touch()
    with pytest.raises(InputError, match=r"train/eel holds no .png, .* file \(1 other"):
        load_dataset(name)
    save(tmp_path / "train/eel/1.png")
    save(tmp_path / "test/fox/1.png")
    with pytest.raises(InputError, match=r"test/fox has no counterpart in the training.*'eel'"):
        load_dataset(name)
    (tmp_path / "empty/train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no .* file in train/CLASS/, class folders found: none"):
        load_dataset(f"folder:{tmp_path / 'empty'}")
    fill(tmp_path / "one", classes=("cat",))
    with pytest.raises(InputError, match=r"expected at least two classes, received \['cat'\]"):
        load_dataset(f"folder:{tmp_path / 'one'}")


def test_what_is_ignored_is_said(tmp_path):
    fill(tmp_path, splits=("train", "test"), count=5)
    (tmp_path / "Validate").mkdir()
    (tmp_path / "train/cat/notes.txt").touch()
    with (
        pytest.warns(UserWarning, match=r"no split are ignored: \['Validate'\]"),
        pytest.warns(
            UserWarning, match=r"1 files that are no .* in a class folder .*train/cat/notes\.txt"
        ),
    ):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "train/cat/notes.txt").rename(tmp_path / "train/cat/Thumbs.db")
    (tmp_path / "Thumbs.db").touch()
    (tmp_path / "train/dog/desktop.ini").touch()
    with pytest.warns(UserWarning, match="no split are ignored") as record:
        load_dataset(f"folder:{tmp_path}")
    assert len(record) == 1
    (tmp_path / "train/cat/notes.txt").touch()
    save(tmp_path / "train/cat/deeper/1.png")
    save(tmp_path / "train/1.png")
    save(tmp_path / "0.png")
    with pytest.warns(UserWarning, match=r"4 files that are no .* ignored, such as 0\.png"):
        load_dataset(f"folder:{tmp_path}")


def test_memory_guard(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr("os.sysconf", lambda key: 10)
    with pytest.raises(InputError, match=r"12 images of 4x5x1 need .* set a smaller dataset"):
        load_dataset(f"folder:{tmp_path}")


def test_brain_tumor_mri():
    folder = SHARED / "data/brain_tumor_mri"
    if not folder.is_dir():
        pytest.skip("../shared/data/brain_tumor_mri is not there")
    dataset = load_dataset(f"folder:{folder}", image_size=32)
    counts = dataset.counts()
    # Counted with `ls | wc -l`.
    assert list(counts["train"] + counts["validation"]) == [826, 822, 395, 827]
    assert list(counts["test"]) == [100, 115, 105, 74]
    assert len(dataset.validation) == 574
    assert dataset.image_shape == (32, 32, 1)
    assert dataset.class_names[2] == "no_tumor"
