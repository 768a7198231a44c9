"""What `lsplus-tf datasets check` finds, and the contact sheet of `datasets show`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lsplus_tf import plots
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.check import CheckReport, check_dataset
from lsplus_tf.datasets.defects import drop_defects
from lsplus_tf.datasets.examples import choose_examples
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import InputError


def save(path, value, *, mode="L", size=(6, 5)):
    """An image, not blank, that no other `value` has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    shape = size[::-1] if mode in ("L", "I;16") else (*size[::-1], len(mode))
    dtype = np.uint16 if mode == "I;16" else np.uint8
    Image.fromarray(rng.integers(0, 256, shape, dtype=dtype)).save(path)
    return path


@pytest.fixture
def sound(tmp_path):
    """A folder of 2 classes and 2 splits with 3 images each."""
    numbers = iter(range(100))
    for part in ("train", "test"):
        for class_name in ("cat", "dog"):
            for i in range(3):
                save(tmp_path / part / class_name / f"p{i}-{part}.png", next(numbers))
    return tmp_path


def problems(report: CheckReport) -> list[tuple[str, str, str]]:
    return [(p.problem, p.file, p.detail) for p in report.problems]


def test_nothing_is_found_in_a_sound_folder(sound):
    seen = []
    report = check_dataset(list_files(f"folder:{sound}"), on_image=lambda: seen.append(1))
    assert len(seen) == 12
    assert report.problems == []
    assert report.table.empty
    assert report.identical == []
    assert report.sizes == Counter({(6, 5): 12})
    assert report.colours == Counter({"grey": 12})
    assert report.group_sizes.empty
    expected = pd.DataFrame({"train": [3, 3], "test": [3, 3]}, index=["cat", "dog"])
    pd.testing.assert_frame_equal(report.counts, expected, check_names=False)


def test_every_defect_is_found(sound):
    whole = save(sound / "train/cat/p0-train.png", 50, size=(64, 48)).read_bytes()
    (sound / "train/cat/p0-train.png").write_bytes(whole[:-40])
    Image.new("RGB", (6, 5), (9, 8, 7)).save(sound / "train/cat/p1-train.png")
    save(sound / "train/dog/p0-train.png", 51, mode="LA")
    save(sound / "train/dog/p1-train.png", 52, mode="I;16", size=(7, 5))
    original = (sound / "train/cat/p2-train.png").read_bytes()
    (sound / "test/cat/p0-test.png").write_bytes(original)
    (sound / "test/dog/p0-test.png").write_bytes(original)
    (sound / "test/dog/p1-test.png").write_bytes((sound / "test/dog/p2-test.png").read_bytes())
    (sound / "test/cat/p1-test.png").write_bytes(b"")
    (sound / "test/cat/p2-test.png").write_bytes(b"")
    report = check_dataset(
        list_files(f"folder:{sound}", group_pattern="p[0-9]"), official={"train": 6, "test": 7}
    )
    unreadable = [problem for problem in problems(report) if problem[0] == "unreadable"]
    assert [file for _, file, _ in unreadable] == [
        *("train/cat/p0-train.png", "test/cat/p1-test.png", "test/cat/p2-test.png")
    ]
    assert all(detail for *_, detail in unreadable)
    assert problems(report)[3:] == [
        ("blank", "train/cat/p1-train.png", "an even area"),
        ("alpha channel", "train/dog/p0-train.png", "mode LA"),
        ("more than 8 bits", "train/dog/p1-train.png", "per channel"),
        (
            "identical to another",
            "test/cat/p0-test.png",
            "same as train/cat/p2-train.png (train, cat)",
        ),
        (
            "identical to another",
            "test/dog/p0-test.png",
            "same as train/cat/p2-train.png (train, cat)",
        ),
        (
            "identical to another",
            "test/dog/p2-test.png",
            "same as test/dog/p1-test.png (test, dog)",
        ),
        ("group in several splits", "", "p0: 2 in train, 2 in test"),
        ("group in several splits", "", "p1: 2 in train, 2 in test"),
        ("group in several splits", "", "p2: 2 in train, 2 in test"),
        ("other than the official number", "", "6 images, officially 7"),
    ]
    assert list(map(len, report.identical)) == [3, 2]
    assert report.identical_across("split") == 1
    assert report.identical_across("class_name") == 1
    assert report.sizes == Counter({(6, 5): 8, (7, 5): 1})
    assert report.colours == Counter({"grey": 8, "colour": 1})
    assert report.group_sizes.to_dict() == {"p0": 4, "p1": 4, "p2": 4}
    assert report.table.columns.tolist() == ["problem", "split", "class", "file", "detail"]
    assert report.table.iloc[-1].tolist() == [
        *("other than the official number", "test", "", "", "6 images, officially 7")
    ]


def test_sums_are_compared_where_a_split_is_carved(sound):
    files = list_files(f"folder:{sound}")
    assert not check_dataset(files, official={"train": 5, "validation": 1, "test": 6}).problems
    report = check_dataset(files, official={"all": 13})
    assert problems(report) == [("other than the official number", "", "12 images, officially 13")]


def test_images_that_a_table_leaves_out(sound):
    rows = [f"{path.relative_to(sound).as_posix()},a" for path in sorted(sound.rglob("*.png"))]
    (sound / "labels.csv").write_text("\n".join(["path,label", *rows[1:]]), encoding="utf-8")
    report = check_dataset(list_files(f"csv:{sound / 'labels.csv'}", unlisted="ignore"))
    assert problems(report) == [("image without a row", rows[0].split(",")[0], "has no label")]


def test_arrays(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for key, count in {"train": 8, "val": 4, "test": 4}.items():
        arrays[f"{key}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{key}_labels"] = np.arange(count)[:, None] % 2
    arrays["test_images"][1] = arrays["train_images"][4]
    arrays["val_images"][2] = 30
    np.savez(tmp_path / "tinymnist.npz", **arrays)
    report = check_dataset(load_dataset("tinymnist", data_dir=tmp_path), official={"test": 4})
    assert problems(report) == [
        ("blank", "val-000002", "an even area"),
        ("identical to another", "test-000001", "same as train-000004 (train, 0)"),
        ("other than the official number", "", "16 images, officially 4"),
    ]
    assert report.problems[1].split == "test"
    assert report.problems[1].class_name == "1"
    assert report.sizes == Counter({(28, 28): 16})
    assert report.colours == Counter({"grey": 16})
    assert report.counts.sum().to_dict() == {"train": 8, "validation": 4, "test": 4}


def test_brain_tumor_mri(shared):
    folder = shared / "data/brain_tumor_mri"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    report = check_dataset(list_files(f"folder:{folder}"))
    # `md5sum */*/* | cut -c-32 | sort | uniq -d | wc -l`, and the same with the first folder told
    # apart by awk. (The README beside the data says 166 and 64.)
    assert len(report.identical) == 300
    assert report.identical_across("split") == 213
    assert report.identical_across("class_name") == 0
    assert Counter(problem.problem for problem in report.problems) == {"identical to another": 394}
    kept, _ = drop_defects(list_files(f"folder:{folder}"), ["duplicates"])
    # 394 copies, of which 80 in Testing: one test image stays of every group that has any.
    assert Counter(kept.parts.tolist()) == {"train": 2870 - 314, "test": 394 - 80}


# --- contact sheet --------------------------------------------------------------------------------


def test_examples_are_drawn_by_the_seed(sound):
    files = list_files(f"folder:{sound}")
    every = choose_examples(files, split="test", count=8, seed=0)
    assert list(every) == ["cat", "dog"]
    for class_name, images in every.items():
        for image, path in zip(
            images, sorted((sound / "test" / class_name).iterdir()), strict=True
        ):
            np.testing.assert_array_equal(image, np.asarray(Image.open(path).convert("RGB")))

    def drawn(seed):
        images = choose_examples(files, split="train", count=2, seed=seed)
        return [image.tobytes() for chosen in images.values() for image in chosen]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(10)}) > 3
    with pytest.raises(
        InputError, match=r"split: expected one of \['test', 'train'\], received 'v"
    ):
        choose_examples(files, split="validation", count=1, seed=0)
    (sound / "train/dog/p1-train.png").write_bytes(b"no image")
    save(sound / "train/dog/p2-train.png", 60, mode="I;16")
    with pytest.warns(
        UserWarning,
        match=r"left out 2 images .*/p1-train\.png \(.*/p2-train\.png \(more than 8 bits per ch",
    ):
        rest = choose_examples(files, split="train", count=3, seed=0)
    assert [len(images) for images in rest.values()] == [3, 1]


def test_examples_of_arrays():
    digits = load_dataset("digits")
    examples = choose_examples(digits, split="validation", count=2, seed=0)
    for label, images in enumerate(examples.values()):
        of_class = digits.validation.images[digits.validation.labels == label]
        assert len(images) == 2
        for image in images:
            assert (of_class == image).all((1, 2, 3)).any()


def test_the_sheet_has_a_row_per_class():
    dark, light = np.full((28, 28, 1), 10, np.uint8), np.full((300, 200, 3), 200, np.uint8)
    ax = plots.contact_sheet({"dark": [dark, dark], "light": [light]})
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (200, 200, 3)
    # 28 pixels are enlarged to 84, in the middle of a tile of 100 with its gap.
    assert (sheet[8:92, 8:92] == 10).all()
    assert (sheet[:8] == 255).all()
    assert (sheet[100:, 100:] == 255).all()
    # 300x200 becomes 96x64.
    assert (sheet[102:198, 18:82] == 200).all()
    assert (sheet[102:198, :18] == 255).all()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dark", "light"]
    assert ax.get_yticks().tolist() == [50, 150]
    with pytest.raises(InputError, match="examples: expected at least one class and one image"):
        plots.contact_sheet({"none": []})
    with pytest.raises(InputError, match=r"class 'dark': expected uint8 .* received float64"):
        plots.contact_sheet({"dark": [np.zeros((2, 2, 1))]})
