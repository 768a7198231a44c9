"""Image files listed in a table of one's own, and dropping duplicates and blank images."""

import gzip
import io
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import SHARED
from PIL import Image

from lsplus_tf.cli.options import LISTING
from lsplus_tf.config import TABLE_OPTIONS, Dataset
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
        ("path,kind\na.png,cat", r"labels\.csv: expected one column 'label', found 0 among"),
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
            "path,label\na.png,cat\nb.svg,dog",
            r"path: expected a name that ends .* 'b\.svg' at line 3",
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


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_groups_that_given_splits_tear_apart_are_told(tmp_path, kind):
    rows = [
        (f"{part}/{label}/P{i % (4 + 3 * (part == 'test'))}-{i}.png", label, part)
        for part in ("train", "test")
        for label in ("cat", "dog")
        for i in range(4 if part == "train" else 7)
    ]
    rows += [(f"validation/{label}/P9-0.png", label, "validation") for label in ("cat", "dog")]
    for path, *_ in rows:
        save(tmp_path / path)
    said = (
        r"4 groups are in several splits, such as P0 \(train, test\), so that results .* one split"
    )
    if kind == "folder":
        name, options, remedy = f"folder:{tmp_path}", {"group_pattern": r"P\d"}, ""
    else:
        lines = [",".join((*row, row[0].split("/")[2][:2])) for row in rows]
        (tmp_path / "t.csv").write_text("\n".join(["path,label,split,group", *lines]))
        name, options = f"csv:{tmp_path / 't.csv'}", {}
        remedy = r", or set dataset\.split_column='', which splits by group"
    with pytest.warns(UserWarning, match=f"{said}{remedy}$"):
        load_dataset(name, **options)
    if kind == "table":  # what the remedy says
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*several splits")
            load_dataset(name, split_column="")


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
    with pytest.raises(InputError, match=r"group_pattern='x' is not found in cat0\.png \(10 such"):
        load_dataset(name, group_pattern="x", unlisted="ignore")
    with pytest.raises(InputError, match=r"group_pattern: expected none .*or csv:PATH$"):
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
    rows = [[path, "\u00e4" if label == "c" else label] for path, label, _ in rows]
    table.write_text("\n".join(map(delimiter.join, rows)), encoding="cp1252")
    with pytest.warns(UserWarning, match=r"labels\.csv: read as Latin-1"):
        assert list_files(f"csv:{table}").class_names == ("a, b", "\u00e4")


def test_other_columns_are_told(tmp_path):
    name = write(tmp_path, "path,label,age\n" + "\n".join(f"{i}.png,{i % 2},3" for i in range(10)))
    hint = r"; if one of them names patients, .* set dataset\.group_column \(--group-column\)"
    with pytest.warns(UserWarning, match=f"other columns are ignored: age{hint}$") as record:
        load_dataset(name)
    assert record[0].filename == __file__
    name = write(tmp_path, "path,label,group,age\n0.png,0,a,3\n1.png,1,b,4", name="grouped.csv")
    with pytest.warns(UserWarning, match="other columns are ignored: age$"):
        list_files(name, unlisted="ignore")


def test_images_that_cannot_be_used(tmp_path):
    name = write(tmp_path, of_classes({"cat": 8, "dog": 8}))
    save(tmp_path / "dog0.png", mode="LA")  # all of it transparent
    refused = r"expected no transparent pixels, dog0\.png has some \(1 such file\); set data"
    with pytest.raises(InputError, match=refused):
        load_dataset(name, unreadable="skip")
    save(tmp_path / "dog0.png", mode="I;16")
    with pytest.raises(InputError, match=r"expected 8 bits per channel, dog0\.png has more \(1 su"):
        load_dataset(name)
    cut = save(tmp_path / "cat.jpg", size=(64, 48)).read_bytes()[:-9]
    (tmp_path / "cat.jpg").unlink()
    (tmp_path / "dog0.png").write_bytes(cut)
    with pytest.raises(InputError, match=r"1 unreadable image: dog0\.png \(image file is trunc"):
        load_dataset(name, image_size=4)
    with pytest.warns(UserWarning, match=r"skipped 1 unreadable image: dog0\.png"):
        dataset = load_dataset(name, image_size=4, unreadable="skip")
    assert dataset.skipped == ("dog0.png",)
    assert len(dataset) == 15


def test_a_class_with_one_image(tmp_path):
    name = write(tmp_path, of_classes({"cat": 9, "dog": 1}))
    with pytest.raises(InputError, match="class 'dog' has 1 sample to split, expected at least 2"):
        load_dataset(name)
    with pytest.raises(InputError, match=r"expected at least two classes, received \['cat'\]"):
        load_dataset(write(tmp_path, of_classes({"cat": 9}), name="one.csv"), unlisted="ignore")


# --- tables with other names and other spellings of paths -----------------------------------------


def listing(folder, text, *files, table="labels.csv", **options):
    """What is listed of a table beside these files, which are empty: listing opens none."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / table).write_text(text, encoding="utf-8")
    return list_files(f"csv:{folder / table}", **options)


HEADS = [
    ("lesion_id,image_id,dx,dx_type", "L{g},{i},{c},histo", "image_id", "dx", "lesion_id"),
    ("id_code,diagnosis", "{i},{c}", "id_code", "diagnosis", None),
    ("image,level", "{i},{c}", "image", "level", None),
    ("img_id,diagnostic,patient_id", "{i},{c},P{g}", "img_id", "diagnostic", "patient_id"),
    ("Path,Label", "{i}.png,{c}", "Path", "Label", None),
    ("File Path,y_true", "{i}.png,{c}", "File Path", "y_true", None),
    ("image,Ground-Truth", "{i}.png,{c}", "image", "Ground-Truth", None),
    ("file_name,CLASS,Subject", "{i}.png,{c},P{g}", "file_name", "CLASS", "Subject"),
    ("Image Index,target,Patient ID", "{i}.png,{c},P{g}", "Image Index", "target", "Patient ID"),
]


@pytest.mark.parametrize(("heading", "row", "path", "label", "group"), HEADS)
def test_usual_names_are_taken_and_told(tmp_path, heading, row, path, label, group):
    text = "\n".join([heading, *(row.format(i=f"s{i}", c="ab"[i % 2], g=i // 2) for i in range(6))])
    names = [f"s{i}.png" for i in range(6)]
    with pytest.warns(UserWarning, match=f"took {path} as path, {label} as label") as record:
        files = listing(tmp_path, text, *names)
    assert files.ids.tolist() == names
    assert files.class_names == ("a", "b")
    assert files.labels.tolist() == [0, 1] * 3
    said = str(record[0].message)
    if group is None:
        assert files.groups is None
    else:
        assert f", {group} as group" in said
        assert [name[1:] for name in files.groups] == ["0", "0", "1", "1", "2", "2"]
    options = {"path_column": path, "label_column": label, "group_column": group or ""}
    named = list_files(f"csv:{tmp_path / 'labels.csv'}", **options)
    assert named.ids.tolist() == files.ids.tolist()
    assert named.labels.tolist() == files.labels.tolist()


def test_one_hot_labels(tmp_path):
    text = "image,MEL,NV,BCC\na,1.0,0.0,0.0\nb,0,0,1\nc,0,1,0\nd,0,1,0\n"
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    with pytest.warns(UserWarning, match=r"took image as path, MEL, NV, BCC as classes$"):
        files = listing(tmp_path, text, *names)
    assert files.class_names == ("MEL", "NV", "BCC")
    assert files.labels.tolist() == [0, 2, 1, 1]
    assert files.ids.tolist() == names
    options = {"label_columns": ["NV", "MEL", "BCC"], "path_column": "image"}
    named = listing(tmp_path, text, **options)
    assert (named.class_names, named.labels.tolist()) == (("NV", "MEL", "BCC"), [1, 2, 0, 0])


@pytest.mark.parametrize("other", [[b"1", b"0"], [[1], [0]], [{"a": 1}, {"a": 0}]])
def test_columns_that_are_no_labels_have_no_error_of_their_own(tmp_path, other):
    path = tmp_path / "labels.parquet"
    pd.DataFrame({"image": ["a", "b"], "A": [1, 0], "other": other}).to_parquet(path)
    with pytest.raises(InputError, match="expected one column 'label', found 0 among"):
        list_files(f"csv:{path}")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("image,A,B\na,1,1\nb,0,1\n", {}, "expected one column 'label', found 0 .*label_columns"),
        ("image,A,B,age\na,1,0,3\nb,0,1,4\n", {}, "found 0 among .*label_columns"),
        ("image,A,B\na,1,1\nb,0,0\n", {"label_columns": ["A", "B"]}, "one 1 .* lines 2 and 3"),
        ("image,A,B\na,1,2\nb,0,1\n", {"label_columns": ["A", "B"]}, "B: .*0..1.*'2' at line 2"),
        (
            "image,A,B,UNK\na,1,0,0\nb,0,1,0\n",
            {},
            r"'UNK': expected a 1, .*dataset\.label_columns=\[A,B\] \(--label-columns A,B\)",
        ),
        ("image,A,B\na,1,0\nb,0,1\n", {"label_columns": ["A", "C"]}, r"label_columns: .*'C'"),
        ("image,A,B\na,1,0\nb,0,1\n", {"label_columns": ["A"]}, "label_columns: .* two or more"),
        ("image,A,B\na,1,0\nb,0,1\n", {"label_columns": ["A", "A"]}, "label_columns: .* once"),
        ("image,dx,label\n", {"path_column": "imgae"}, "path_column: .*did you mean 'image'"),
        (
            "image,filename,dx\na,b,c\n",
            {},
            r"'image' and 'filename' could be it; .* dataset\.path_column \(--path-column\)",
        ),
        ("image,dx,target\na,b,c\n", {}, r"'dx' and 'target' could .*dataset\.label_column \(--l"),
        ("x,dx\na,b\n", {}, r"expected one column 'path', found 0 .*dataset\.path_column"),
        (
            "image,dx,patient,subject\na,x,1,1\nb,y,1,2\nc,y,2,1\n",
            {},
            r"'patient' and 'subject' could be it; .*dataset\.group_column \(--group-column\); ''",
        ),
        ("image,dx,set,fold\na,x,train,train\n", {}, r"'set' and 'fold' could .*split_column"),
        ("image,dx,set\na,x,train\nb,y,7\n", {}, r"set: expected one of train, .*'7' at line 3"),
        ("image,dx,patient\na,x,1\nb,y,\n", {}, "patient: .*group_column=''.* at line 3"),
        ("image,dx,split\na,x,train\nb,y,val\nc,y,eval\n", {}, "'val' and 'eval' could both"),
    ],
)
def test_two_meanings_are_asked_for(tmp_path, text, options, message):
    with pytest.raises(InputError, match=message):
        listing(tmp_path, text, "a.png", "b.png", "c.png", **options)


def test_the_coarser_of_two_groups_is_taken(tmp_path):
    rows = ["image,dx,lesion_id,patient_id", "a,x,L1,P1", "b,y,L2,P1", "c,y,L3,P2"]
    with pytest.warns(UserWarning, match=r"patient_id as group; other .* ignored: lesion_id$"):
        files = listing(tmp_path, "\n".join(rows), "a.png", "b.png", "c.png")
    assert files.groups.tolist() == ["P1", "P1", "P2"]


def test_columns_that_hold_splits(tmp_path):
    text = "path,label,fold,set\na.png,x,0,TRN\nb.png,y,1,dev\nc.png,y,2,Tst\n"
    names = ["a.png", "b.png", "c.png"]
    with pytest.warns(UserWarning, match=r"took set as split; other columns .*: fold"):
        files = listing(tmp_path, text, *names)
    assert files.parts.tolist() == ["train", "validation", "test"]
    with pytest.warns(UserWarning, match=r"other columns .*: fold, set"):
        assert set(listing(tmp_path, text, split_column="").parts) == {"train"}
    with pytest.raises(InputError, match=r"fold: expected one of train, .*'0' at lines 2"):
        listing(tmp_path, text, split_column="fold")


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("images\\a.png", "images/a.png"),
        (".\\images\\a.png", "images/a.png"),
        ("./images/a.png", "images/a.png"),
        ("images//./a.png", "images/a.png"),
        ("images/a", "images/a.png"),
        ("images/a.b", "images/a.b.png"),
        ("images/a.png", "images/a.PNG"),
        ("images/A.JPG", "images/A.jpg"),
        ("{root}/images/a.png", "images/a.png"),
        ("images/Caf\u00e9.png", "images/Cafe\u0301.png"),
        ("Cafe\u0301/a", "Caf\u00e9/a.jpeg"),
        ("a.png", "images/a.png"),
        ("a", "images/a.png"),
        ("part/a", "images/part/a.jpg"),
    ],
)
def test_spellings_of_a_path(tmp_path, cell, file):
    text = f"path,label\n{cell.format(root=tmp_path)},x\n"
    files = listing(tmp_path, text, file)
    assert files.ids.tolist() == [file]
    assert files.path(0).is_file()


@pytest.mark.parametrize(
    ("cells", "there", "message"),
    [
        (["a"], ["a.png", "a.jpg"], r"'a' at line 2|path of one image, not of a\.jpg or a\.png"),
        (["a.png"], ["a.Png", "a.PNG"], "path of one image, not of"),
        (["a", "a.png"], ["a.png"], "every image once, received 'a.png' at line 3"),
        (["./a.png", "a.png"], ["a.png"], "every image once, received 'a.png' at line 3"),
        (["a"], ["x/a.png", "y/a.png"], r"one name are in x/, y/; choose .*image_folder"),
        (["a", "b"], ["x/c.png"], r"2 images are not in .*: a \(line 2\);.*image_folder"),
        (["a", "b"], ["x/a.png"], r"1 images are not in x/: b .*of 2 rows.*leave out these rows"),
        (["a", "b"], ["a.png", "x/b.png"], r"1 images are not in .*: b \(line 3\)"),
        (["C:\\data\\a.png"], ["b.png"], r"a plain path .*leave only .*'C:\\\\data"),
        (["C:\\x\\a.png", "D:\\x\\b.png"], ["a.png", "b.png"], "a plain path .*image_folder"),
        (["C:\\x\\a.png", "b.png"], ["a.png", "b.png"], "a plain path .*image_folder"),
        (["/elsewhere/a.png", "/elsewhere/b.png"], ["a.png"], "path: expected a plain path that"),
        (["../a.png"], ["a.png"], "path: expected a plain path that stays below"),
        (["A.png"], ["a.png"], "1 images are not in"),
        (["a.png"], ["a.png.jpg"], "1 images are not in"),
        (["a.svg"], ["a.svg"], "path: expected a name that ends in"),
        (["a.jpg"], ["a.png"], r"\(line 2\) \(of 1 rows\); a\.png is there: write this suffix"),
        (["a.dcm", "b"], ["x/a.png", "x/b.png"], r"a\.dcm \(line 2\).*; x/a\.png is there"),
    ],
)
def test_paths_that_are_not_certain(tmp_path, cells, there, message):
    text = "\n".join(["path,label", *(f"{cell},x" for cell in cells)])
    with pytest.raises(InputError, match=message):
        listing(tmp_path, text, *there)


@pytest.mark.parametrize(
    ("cells", "ids", "removed"),
    [
        (["C:\\d\\images\\a.png", "C:\\d\\images\\b"], ["images/a.png", "images/b.png"], "C:/d/"),
        (["C:/d/a", "C:/d/b"], ["images/a.png", "images/b.png"], "C:/d/"),
        (["/home/me/a.png", "/home/me/x/b.png"], ["a.png", "x/b.png"], "/home/me/"),
        (["\\\\server\\d\\a.png", "\\\\server\\d\\b.png"], ["a.png", "b.png"], "//server/d/"),
        (["{own}/a.png", "{own}/x/b.png"], ["a.png", "x/b.png"], "{own}/"),
        (["{own}/a.png", "{own}/b.png"], ["{own}/a.png", "{own}/b.png"], None),
    ],
)
def test_folders_of_another_computer_are_removed(tmp_path, recwarn, cells, ids, removed):
    own = tmp_path.name
    text = "\n".join(["path,label", *(f"{cell.format(own=own)},x" for cell in cells)])
    files = listing(tmp_path, text, *(i.format(own=own) for i in ids))
    assert files.ids.tolist() == [i.format(own=own) for i in ids]
    said = "".join(str(warning.message) for warning in recwarn)
    assert removed is None or f"{removed.format(own=own)!r} before all paths was removed" in said


def test_groups_from_the_paths_of_a_table(tmp_path):
    text = "path,label,patient\nP1/a.png,x,7\nP1/b.png,y,8\nP2/c.png,y,9\n"
    with pytest.warns(UserWarning, match="other columns are ignored: patient$"):
        files = listing(
            tmp_path, text, "P1/a.png", "P1/b.png", "P2/c.png", group_pattern="(P[0-9])/"
        )
    assert files.groups.tolist() == ["P1", "P1", "P2"]


@pytest.mark.parametrize("name", ["usage", "Dataset", "is_test"])
@pytest.mark.parametrize(
    ("heading", "rows"), [("label", ("x", "y", "y")), ("A,B", ("1,0", "0,1", "0,1"))]
)
def test_a_column_of_splits_by_what_it_holds(tmp_path, name, heading, rows):
    def table(*splits):
        lines = (f"{i}.png,{rows[i]},{split}" for i, split in enumerate(splits))
        return "\n".join([f"path,{heading},{name}", *lines])

    with pytest.warns(UserWarning, match=f"{name} as split"):
        files = listing(tmp_path, table("Train", "test", "val"), "0.png", "1.png", "2.png")
    assert files.parts.tolist() == ["train", "test", "validation"]
    if heading == "label":  # names of something else too; no training images; nothing else
        for splits in (("train", "test", "a"), ("val", "test", "test"), ("train",) * 3):
            with pytest.warns(UserWarning, match=f"ignored: {name}"):
                assert set(listing(tmp_path, table(*splits)).parts) == {"train"}


def test_measurements_are_no_classes(tmp_path):
    there = [f"{i}.png" for i in range(30)]
    for step, refused in ((0.01, True), (1, True), (0, False)):
        labels = [i * step or i % 3 for i in range(30)]
        text = "\n".join(["path,label", *(f"{i}.png,{y}" for i, y in enumerate(labels))])
        if refused:
            with pytest.raises(InputError, match=r"'label': expected classes, received \d+ differ"):
                listing(tmp_path, text, *there)
        else:
            assert listing(tmp_path, text, *there).class_names == ("0", "1", "2")


def test_groups_that_differ_by_zeros_in_front_are_told(tmp_path):
    text = "path,label,group\na,x,0012\nb,y,12\nc,y,7\n"
    with pytest.warns(UserWarning, match="'0012', '12' of 'group', spelled nearly alike"):
        files = listing(tmp_path, text, "a.png", "b.png", "c.png")
    assert files.groups.tolist() == ["0012", "12", "7"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,label\na,x\nb,\n", {}, "label: .*leave out these rows, or fill them"),
        (
            "path,A,B\na,1,0\nb,,1\n",
            {"label_columns": ["A", "B"]},
            "A: .*leave out these rows, or fill them",
        ),
        ("path,label,split\na,x,0\nb,x,1\n", {}, r"split_column='' \(--split-column ''\) for none"),
    ],
)
def test_remedies(tmp_path, text, options, message):
    with pytest.raises(InputError, match=message):
        listing(tmp_path, text, "a.png", "b.png", **options)


def test_images_in_several_folders_beside_the_table(tmp_path):
    """As HAM10000 is published: in parts, each image in one of them."""
    text = "image_id,dx\na,x\nb,y\n"
    there = ["part_1/a.jpg", "part_2/b.jpg", "others/c.jpg", "__MACOSX/a.jpg", ".cache/b.jpg"]
    with pytest.warns(UserWarning, match=r"images are in part_1/, part_2/"):
        files = listing(tmp_path, text, *there)
    assert files.ids.tolist() == ["part_1/a.jpg", "part_2/b.jpg"]
    (tmp_path / "part_2/d.jpg").touch()
    with pytest.raises(InputError, match=r"1 images have no row, such as part_2/d\.jpg"):
        listing(tmp_path, text)


@pytest.mark.parametrize("absolute", [False, True])
def test_image_folder(tmp_path, monkeypatch, absolute):
    text = "path,label\na,x\nsub/b.png,y\n"
    inside = listing(tmp_path, text, "in/a.png", "in/sub/b.png", image_folder="in/")
    assert inside.root == tmp_path
    assert inside.ids.tolist() == ["in/a.png", "in/sub/b.png"]
    (tmp_path / "tables").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in ("../in", "in"):  # from the table's folder, or the current one
        given = tmp_path / "in" if absolute else folder
        outside = listing(tmp_path / "tables", text, image_folder=given)
        assert [outside.path(i).resolve() for i in (0, 1)] == [
            tmp_path / "in/a.png",
            tmp_path / "in/sub/b.png",
        ]
        assert outside.ids.tolist() == ["a.png", "sub/b.png"]
    (tmp_path / "tables/in").mkdir()
    with pytest.raises(InputError, match=r"image_folder .*: 'in' could be .*tables/in, below the"):
        listing(tmp_path / "tables", text, image_folder="in")
    with pytest.raises(MissingDataError, match=r"image_folder \(--image-folder\): .* no .*nowhere"):
        listing(tmp_path, text, image_folder="nowhere")
    with pytest.raises(
        InputError, match=r"image_folder: expected none for 'folder:x', which is no"
    ):
        list_files("folder:x", image_folder="in")


FILES = {
    "labels.csv": str.encode,
    "labels.txt": lambda text: text.replace(",", "\t").encode("utf-16"),
    "labels.csv.gz": lambda text: gzip.compress(text.encode("utf-8-sig")),
    "labels.jsonl": lambda text: (
        pd.read_csv(io.StringIO(text), dtype=str).to_json(orient="records", lines=True).encode()
    ),
}


@pytest.mark.filterwarnings("ignore:.*(spaces|with and without)")
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("labels", "groups", "names", "of_rows"),
    [
        (["nv", "nv ", "mel", " mel"], ["p 0 ", "p 0", "p 1", " p 1"], ("mel", "nv"), "1 1 0 0"),
        (["1", "1.0", "2", "2.0"], ["12", "12.0", "13.0", "13"], ("1", "2"), "0 0 1 1"),
        (
            ["caf\u00e9", "cafe\u0301", "b", "b"],
            ["7", "7", "8", "8"],
            ("b", "caf\u00e9"),
            "1 1 0 0",
        ),
    ],
)
def test_one_thing_written_in_two_ways(tmp_path, file, labels, groups, names, of_rows):
    """Else one patient would be in training and test, and a class would be two."""
    cells = zip(range(4), labels, groups, strict=True)
    text = "\n".join(["path,label,group", *(f"{i}.png,{a},{b}" for i, a, b in cells)])
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    (tmp_path / file).write_bytes(FILES[file](text))
    found = list_files(f"csv:{tmp_path / file}")
    assert found.class_names == names
    assert found.labels.tolist() == [int(label) for label in of_rows.split()]
    assert found.groups[0] == found.groups[1] != found.groups[2] == found.groups[3]


def test_labels_that_differ_in_case_are_told(tmp_path):
    rows = "path,label\na.png,A\nb.png,a\nc.png,A\n"
    with pytest.warns(UserWarning, match="'A', 'a' of 'label', spelled nearly alike, kept apart"):
        files = listing(tmp_path, rows, "a.png", "b.png", "c.png")
    assert files.class_names == ("A", "a")


def test_the_command_line_has_the_options_of_configs(call, tmp_path):
    assert list(LISTING) == ["class_pattern", "group_pattern", *TABLE_OPTIONS]
    for i in range(8):
        save(tmp_path / f"photos/{i}.png", i)
    rows = [f"{i},p{i // 2},{i % 2},{1 - i % 2},{('train', 'test')[i % 2]}" for i in range(8)]
    text = "\n".join(["id,name,ill,well,which", *rows])
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    options = [
        *("--path-column", "id", "--label-columns", "well, ill", "--group-column", "name"),
        *("--split-column", "which", "--image-folder", tmp_path / "photos"),
    ]
    code, stdout, stderr = call("datasets", "check", f"csv:{tmp_path / 'labels.csv'}", *options)
    assert stderr == ""
    assert code == 1  # a class is in one split alone, and groups are in both
    assert "groups, such as patients: 4, with 2 images each" in stdout
    assert re.search(r"well\W+4\W+0\b", stdout)
    sheet = tmp_path / "sheet.png"
    call("datasets", "show", f"csv:{tmp_path / 'labels.csv'}", *options, "--out", sheet)
    assert sheet.is_file()
    code, stdout, stderr = call("datasets", "check", f"csv:{tmp_path / 'labels.csv'}")
    assert (code, stdout) == (2, "")
    assert "expected one column 'path', found 0 among" in stderr
    assert "(--path-column)" in stderr
    for i in range(6):
        save(tmp_path / f"set/{'ab'[i % 2]}/p{i // 2}-{i}.png", i)
    name = f"folder:{tmp_path / 'set'}"
    call("datasets", "show", name, "--group-pattern", "(p.)-", "--out", tmp_path / "groups.png")
    assert (tmp_path / "groups.png").is_file()
    assert "which is no csv:PATH" in call("datasets", "check", name, "--label-column", "x")[2]


def test_ham10000():
    folder = SHARED / "data/ham10000"
    if not folder.is_dir():
        pytest.skip("../shared/data/ham10000 is not there")
    with pytest.warns(UserWarning, match="image_id as path, dx as label, lesion_id as group"):
        files = list_files(f"csv:{folder}/HAM10000_metadata.csv")
    # What its own README says, and the table beside it.
    assert len(files) == 10015
    counts = dict(zip(files.class_names, np.bincount(files.labels).tolist(), strict=True))
    expected = "nv 6705, mel 1113, bkl 1099, bcc 514, akiec 327, vasc 142, df 115"
    assert counts == {name: int(n) for name, n in map(str.split, expected.split(","))}
    with pytest.warns(UserWarning, match="other columns are ignored"):
        ours = list_files(f"csv:{folder}/table.csv")
    assert files.ids.tolist() == ours.ids.tolist()
    assert files.groups.tolist() == ours.groups.tolist()
    assert files.root == ours.root


HOSTILE_TABLES = {
    "empty": b"",
    "zeros": b"\0" * 64,
    "a heading alone": b"path,label",
    "binary": bytes(range(256)) * 3,
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(90),
    "a folder as image": b"path,label\nfolder,x\n",
    "a folder called as an image": b"path,label\nfolder.png,x\n",
    "zeros in a path": b"path,label\na\0.png,x\n",
    "a long path": b"path,label\n" + b"a" * 5000 + b".png,x\n",
    "a deep path": b"path,label\n" + b"a/" * 3000 + b"b.png,x\n",
    "quotes": b'path,label\n"a.png,x\n',
    "no text": b"path,label\n\xff\xfe.png,x\n",
    "a line break in a path": b'path,label\n"a\nb.png",x\n',
    "formulas": b"path,label\n=1+1,x\n",
    "dots": b"path,label\n.,x\n..,y\n",
    "a home": b"path,label\n~/a.png,x\n",
    "an address": b"path,label\nhttps://example.org/a.png,x\n",
    "columns without names": b",,\n1,2,3\n",
}


@pytest.mark.parametrize("kind", HOSTILE_TABLES)
def test_broken_tables_are_refused_in_a_line(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "labels.csv").write_bytes(HOSTILE_TABLES[kind])
    with pytest.raises(InputError) as refusal:
        list_files(f"csv:{tmp_path / 'labels.csv'}")
    assert str(refusal.value)


@pytest.mark.parametrize(
    "name", ["", ".", "x" * 5000, "a\0b", "~nobody-of-this-name/x", "\udcff.csv"]
)
@pytest.mark.parametrize("prefix", ["csv:", "folder:", "npz:"])
def test_names_that_mean_nothing(tmp_path, monkeypatch, prefix, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        load_dataset(prefix + name)
    str(refusal.value).encode("utf-8")


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
    with pytest.warns(UserWarning, match=r"skipped 1 blank image: dog7\.png"):
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
        InputError, match=r"drop\.0: expected 'duplicates', 'blank' or 'masks', received 'b'"
    ):
        load_dataset(name, drop=["b", "blank"])


def test_masks_are_told_and_dropped(tmp_path):
    name = write(tmp_path, of_classes({"cat": 8, "dog": 8}))
    text = (tmp_path / "labels.csv").read_text()
    for mask in ("cat0_mask", "dog1_Mask_2", "dog1-seg"):
        save(tmp_path / f"{mask}.png")
        text += f"\n{mask}.png,{mask[:3]}"
    (tmp_path / "labels.csv").write_text(text)
    with pytest.warns(UserWarning, match=r"3 images look like masks .*cat0_mask\.png.*drop=\[mask"):
        assert len(load_dataset(name)) == 19
    with pytest.warns(UserWarning, match=r"skipped 3 masks: cat0_mask\.png, ") as record:
        dataset = load_dataset(name, drop=["masks"])
    assert (len(record), len(dataset), len(dataset.skipped)) == (1, 16, 3)


def test_a_config_says_what_is_dropped():
    assert Dataset(name="csv:x.csv", drop=["blank"], unlisted="ignore").drop == ("blank",)
    with pytest.raises(ValueError, match="'duplicates', 'blank' or 'masks'"):
        Dataset(name="csv:x.csv", drop=["blanks"])


@pytest.mark.parametrize("text", ["a.png,x\nb.png,y\n", "x;deep/a.JPEG\ny;b.jpg\n", "a.dcm\t0\n"])
def test_a_table_without_a_heading(tmp_path, text):
    with pytest.raises(InputError, match="the first line seems to be no heading: write the names"):
        listing(tmp_path, text)
