"""Image files listed in a table of one's own, and dropping duplicates and blank images."""

import numpy as np
import pytest
from PIL import Image

from lsplus_tf.config import Dataset
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import InputError, MissingDataError


def save(path, value=7, *, mode="L", size=(5, 4), **options):
    """An image that is not blank: its first pixel is `value`, the others are 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, 0)
    image.paste(255 if mode in ("L", "I;16") else (255,) * len(mode), (0, 2, *size))
    image.putpixel((0, 0), value if mode in ("L", "I;16") else (value,) * len(mode))
    image.save(path, **options)
    return path


def write(folder, text, *, name="labels.csv", images=True):
    """A table, and the images that its rows name: the first pixel is the number of the row."""
    table = folder / name
    table.write_text(text, encoding="utf-8")
    if images:
        heading, *rows = [line.split(",") for line in text.splitlines()]
        for number, row in enumerate(rows):
            save(folder / row[heading.index("path")], number)
    return f"csv:{table}"


def pixels(split):
    return split.images[:, 0, 0, 0].tolist()


def of_classes(counts):
    """A table of so many images of each class."""
    rows = [f"{c}{i}.png,{c}" for c, count in counts.items() for i in range(count)]
    return "\n".join(["path,label", *rows])


def test_all_columns(tmp_path, monkeypatch):
    text = """\
votes_10,label,path,split,group,votes_9
1,9,b/0.png,train,p1,4
3,10,b/1.png,Training,p2,2
0,9,b/2.png,val,p3,7
5,10,c/d/3.PNG,VALIDATION,p1,0
1,10,c/d/4.png,test,p4,0
0,9,5.png,testing,p5,1
"""
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset("csv:labels.csv")
    assert dataset.name == "csv:labels.csv"
    assert dataset.class_names == ("9", "10")
    assert dataset.train.ids.tolist() == ["b/0.png", "b/1.png"]
    assert dataset.train.labels.tolist() == [0, 1]
    assert dataset.train.votes.tolist() == [[4, 1], [2, 3]]
    assert dataset.validation.groups.tolist() == ["p3", "p1"]
    assert [pixels(split) for _, split in dataset.splits()] == [[0, 1], [2, 3], [4, 5]]
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.test.votes.tolist() == [[0, 1], [1, 0]]


def test_names_are_sorted_as_text_unless_all_are_integers(tmp_path):
    assert list_files(write(tmp_path, "path,label\na.png,10\nb.png,9\nc.png,-1")).class_names == (
        "-1",
        "9",
        "10",
    )
    assert list_files(write(tmp_path, "path,label\na.png,10\nb.png,9\nc.png,NA")).class_names == (
        "10",
        "9",
        "NA",
    )


def test_without_splits_they_are_carved(tmp_path):
    dataset = load_dataset(write(tmp_path, of_classes({"cat": 10, "dog": 20})))
    assert {part: list(counts) for part, counts in dataset.counts().items()} == {
        "train": [6, 12],
        "validation": [2, 4],
        "test": [2, 4],
    }
    every = {name for _, split in dataset.splits() for name in split.ids.tolist()}
    assert len(every) == 30


def test_carved_splits_share_no_group(tmp_path):
    rows = [f"{i}.png,{'ab'[i % 2]},patient {i // 4}" for i in range(80)]
    dataset = load_dataset(write(tmp_path, "\n".join(["path,label,group", *rows])))
    groups = [set(split.groups.tolist()) for _, split in dataset.splits()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert all(groups)
    for _, split in dataset.splits():
        number = np.char.partition(split.ids, ".")[:, 0].astype(int)
        assert split.groups.tolist() == [f"patient {i // 4}" for i in number]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\na.png,cat", r"labels\.csv: expected one column 'label', found 0 among"),
        ("path,label\n", r"labels\.csv: expected at least one row"),
        ("", r"labels\.csv: expected a heading"),
        ("path,label,label\na.png,cat,dog", "expected one column 'label', found 2"),
        ("path,label,split,split\na.png,x,test,train", "expected one column 'split', found 2"),
        (
            "path,label\na.png,cat\nb.png,\nc.png,",
            r"label: expected a value, received none at lines 3 and 4 ",
        ),
        ("path,label\na.png,cat\n\n,dog", "path: expected a value, received none at line 4"),
        ("path,label\na.png,cat\n../b.png,dog", r"path: .* stays below .* '\.\./b\.png' at line 3"),
        ("path,label\na.png,cat\nx/../../b.png,dog", r"path: .* 'x/\.\./\.\./b\.png' at line 3"),
        ("path,label\n/etc/b.png,dog", r"path: .* '/etc/b\.png' at line 2"),
        (
            "path,label\na.png,cat\nb.png,dog\na.png,dog",
            r"path: .* every.* once, received 'a\.png' at line 4",
        ),
        (
            "path,label\na.png,cat\nb.nii,dog",
            r"path: expected a name that ends .* 'b\.nii' at line 3",
        ),
        (
            "path,label,split\na.png,cat,train\nb.png,dog,\nc.png,dog,tset",
            r"split: expected a value, received none at line 3 \(of 3 rows\)",
        ),
        (
            "path,label,split\na.png,cat,train\nb.png,dog,tset",
            r"split: expected one of train, training, .* received 'tset' at line 3",
        ),
        ("path,label,split\na.png,cat,test", "column 'split': expected rows of split train"),
        (
            "path,label,group\na.png,cat,1\nb.png,cat,",
            "group: expected a value, received none at line 3",
        ),
        ("path,label,votes_a\na.png,a,1\nb.png,b,2", "expected the columns votes_a, votes_b"),
        (
            "path,label,votes_a,votes_b\na.png,a,1,0\nb.png,b,-1,2",
            "votes_a: expected an integer .* received '-1' at line 3",
        ),
        (
            "path,label,votes_a,votes_b\na.png,a,1,0\nb.png,b,0,0",
            "votes_a: expected at least one vote in a row, received '0' at line 3",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_line(tmp_path, text, message):
    name = write(tmp_path, text, images=False)
    with pytest.raises(InputError, match=message):
        load_dataset(name)


def test_rows_without_a_file(tmp_path):
    name = write(tmp_path, of_classes({"cat": 5, "dog": 5}))
    for gone in ("cat1", "dog4"):
        (tmp_path / f"{gone}.png").unlink()
    with pytest.raises(
        InputError, match=r"2 images are not in .*: cat1\.png \(line 3\); dog4\.png \(line 11\)"
    ):
        load_dataset(name)
    with pytest.raises(MissingDataError, match=r"nowhere\.csv: expected a labels file"):
        load_dataset(f"csv:{tmp_path}/nowhere.csv")


def test_files_without_a_row(tmp_path):
    name = write(tmp_path, of_classes({"cat": 5, "dog": 5}))
    save(tmp_path / "eel.jpg")
    save(tmp_path / "elsewhere/fox.png")  # no row names this folder
    save(tmp_path / ".hidden.png")
    with pytest.raises(InputError, match=r"1 images have no row, such as eel\.jpg.*unlisted=igno"):
        load_dataset(name)
    assert len(load_dataset(name, unlisted="ignore")) == 10
    with pytest.raises(InputError, match="unlisted: expected 'fail' for 'digits'"):
        load_dataset("digits", unlisted="ignore")
    with pytest.raises(InputError, match="unlisted: expected 'fail' or 'ignore', received 'x'"):
        load_dataset(name, unlisted="x")
    with pytest.raises(InputError, match=r"group_pattern: expected none .*name the column `group`"):
        load_dataset(name, group_pattern="x")
    with pytest.raises(InputError, match=r"group_pattern: expected none .*no folder:PATH$"):
        load_dataset("digits", group_pattern="x")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_the_csv_of_a_spreadsheet_in_another_country(tmp_path, delimiter):
    rows = [["path", " label", "group"]]
    rows += [[f"{i}.png", ("a, b", "c")[i % 2], f"P{i}"] for i in range(6)]
    for path, *_ in rows[1:]:
        save(tmp_path / path)
    table = tmp_path / "labels.csv"
    table.write_text("\r\n".join(map(delimiter.join, rows)), encoding="utf-8-sig")
    files = list_files(f"csv:{table}")
    assert files.ids.tolist() == [row[0] for row in rows[1:]]
    assert files.class_names == ("a, b", "c")
    assert files.groups.tolist() == [f"P{i}" for i in range(6)]
    table.write_text("path;label\n0.png;\u00e4\n", encoding="cp1252")
    with pytest.raises(InputError, match=r"labels\.csv: cannot be read as UTF-8; save it"):
        list_files(f"csv:{table}")


def test_other_columns_are_told(tmp_path):
    name = write(tmp_path, "path,label,age\n" + "\n".join(f"{i}.png,{i % 2},3" for i in range(10)))
    hint = "; a column of patients has to be called group"
    with pytest.warns(UserWarning, match=f"other columns are ignored: age{hint}$") as record:
        load_dataset(name)
    assert record[0].filename == __file__
    name = write(tmp_path, "path,label,group,age\n0.png,0,a,3\n1.png,1,b,4", name="grouped.csv")
    with pytest.warns(UserWarning, match="other columns are ignored: age$"):
        list_files(name, unlisted="ignore")


def test_images_that_cannot_be_used(tmp_path):
    name = write(tmp_path, of_classes({"cat": 8, "dog": 8}))
    save(tmp_path / "dog0.png", mode="RGBA")
    with pytest.raises(InputError, match=r"dog0\.png has an alpha channel \(1 such"):
        load_dataset(name)
    save(tmp_path / "dog0.png", mode="I;16")
    with pytest.raises(InputError, match=r"expected 8 bits per channel, dog0\.png has more \(1 su"):
        load_dataset(name)
    cut = save(tmp_path / "cat.jpg", size=(64, 48)).read_bytes()[:-9]
    (tmp_path / "cat.jpg").unlink()
    (tmp_path / "dog0.png").write_bytes(cut)
    with pytest.raises(InputError, match=r"1 unreadable images: dog0\.png \(image file is trunc"):
        load_dataset(name, image_size=4)
    with pytest.warns(UserWarning, match=r"skipped 1 unreadable images: dog0\.png"):
        dataset = load_dataset(name, image_size=4, unreadable="skip")
    assert dataset.skipped == ("dog0.png",)
    assert len(dataset) == 15


def test_a_class_with_one_image(tmp_path):
    name = write(tmp_path, of_classes({"cat": 9, "dog": 1}))
    with pytest.raises(InputError, match="class 'dog' has 1 sample to split, expected at least 2"):
        load_dataset(name)
    with pytest.raises(InputError, match=r"expected at least two classes, received \['cat'\]"):
        load_dataset(write(tmp_path, of_classes({"cat": 9}), name="one.csv"), unlisted="ignore")


# --- dropping -------------------------------------------------------------------------------------


def copies(folder, groups):
    """Make the files of each group identical."""
    for first, *others in groups:
        for other in others:
            (folder / other).write_bytes((folder / first).read_bytes())


def test_of_identical_files_the_tested_one_stays(tmp_path):
    rows = ["path,label,split"]
    for part in ("train", "val", "test"):
        rows += [f"{part}/{c}{i}.png,{c},{part}" for c in "ab" for i in range(5)]
    name = write(tmp_path, "\n".join(rows))
    copies(
        tmp_path,
        [
            ["train/a0.png", "train/a2.png"],
            ["train/a1.png", "val/a1.png", "test/a1.png", "test/a3.png"],
            ["train/b1.png", "train/b3.png", "val/b0.png"],
            ["train/a4.png", "train/b4.png"],  # which label is right, nobody knows
        ],
    )
    with pytest.warns(UserWarning, match=r"skipped 8 duplicates: train/a1\.png, .* and 5 more"):
        dataset = load_dataset(name, drop=["duplicates"])
    dropped = {
        *("train/a2.png", "train/a1.png", "val/a1.png", "test/a3.png", "train/b1.png"),
        *("train/b3.png", "train/a4.png", "train/b4.png"),
    }
    assert set(dataset.skipped) == dropped
    kept = {name for _, split in dataset.splits() for name in split.ids.tolist()}
    assert kept == {row.split(",")[0] for row in rows[1:]} - dropped
    assert dataset.train.labels.tolist() == [0] * 2 + [1] * 2


def test_what_is_carved_shares_no_file(tmp_path):
    name = write(tmp_path, of_classes({"cat": 20, "dog": 20}))
    copies(
        tmp_path, [[f"{c}{i}.png", f"{c}{i + 10}.png"] for c in ("cat", "dog") for i in range(8)]
    )
    with pytest.warns(UserWarning, match="skipped 16 duplicates"):
        dataset = load_dataset(name, drop=["duplicates"])
    assert len(dataset) == 24
    contents = [(tmp_path / i).read_bytes() for _, split in dataset.splits() for i in split.ids]
    assert len(set(contents)) == 24


def test_blank_images_are_dropped(tmp_path):
    name = write(tmp_path, of_classes({"cat": 8, "dog": 8}))
    Image.new("L", (5, 4), 0).save(tmp_path / "cat0.png")
    Image.new("L", (5, 4), 0).save(tmp_path / "dog3.png")
    rng = np.random.default_rng(0)
    # Noise of SD 0.5 is blank, of SD 2 is not.
    faint = rng.normal(100, 0.5, (4, 5)).round().astype(np.uint8)
    Image.fromarray(faint).save(tmp_path / "cat2.png")
    visible = rng.normal(100, 2, (4, 5)).round().astype(np.uint8)
    Image.fromarray(visible).save(tmp_path / "cat5.png")
    assert 0 < faint.std() < 1 < visible.std()
    with pytest.warns(UserWarning, match=r"skipped 3 blank images: cat0\.png, cat2\.png, dog3\.pn"):
        dataset = load_dataset(name, drop=["blank", "duplicates"])
    assert dataset.skipped == ("cat0.png", "cat2.png", "dog3.png")
    assert len(dataset) == 13


def test_an_even_colour_is_blank(tmp_path):
    name = write(tmp_path, of_classes({"cat": 8, "dog": 8}))
    for i in range(8):
        save(tmp_path / f"cat{i}.png", i, mode="RGB")
        save(tmp_path / f"dog{i}.png", 10 + i, mode="RGB")
    Image.new("RGB", (5, 4), (250, 10, 10)).save(tmp_path / "dog7.png")
    with pytest.warns(UserWarning, match=r"skipped 1 blank images: dog7\.png"):
        load_dataset(name, drop=["blank"])


def test_dropping_is_refused_where_it_cannot_be(tmp_path):
    rows = [f"{p}{c}{i}.png,{c},{p}" for p in ("train", "test") for c in "ab" for i in range(5)]
    name = write(tmp_path, "\n".join(["path,label,split", *rows]))
    for path in tmp_path.glob("test*.png"):
        Image.new("L", (5, 4), 9).save(path)
    with pytest.raises(InputError, match=r"drop=blank leaves no image of the test split"):
        load_dataset(name, drop=["blank"])
    with pytest.raises(InputError, match="drop: expected none for 'digits'"):
        load_dataset("digits", drop=["blank"])
    with pytest.raises(
        InputError, match=r"drop\.0: expected 'duplicates' or 'blank', received 'b'"
    ):
        load_dataset(name, drop=["b", "blank"])


def test_a_config_says_what_is_dropped():
    assert Dataset(name="csv:x.csv", drop=["blank"], unlisted="ignore").drop == ("blank",)
    with pytest.raises(ValueError, match="'duplicates' or 'blank'"):
        Dataset(name="csv:x.csv", drop=["blanks"])
