"""Every known data set is a whole record in a file of its own, and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from official_layouts import WRITERS

import lsplus_tf
from lsplus_tf.datasets import available_datasets
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.datasets.record import Record

PACKAGE = Path(lsplus_tf.__file__).parent
FILE_SETS = [record for record in RECORDS.values() if record.list_files is not None]
# What the papers print, and weights that a publisher of images offers as well.
ELSEWHERE = {"paper", "cli/papers.py", "backbones/weights.py"}


@pytest.mark.parametrize("record", RECORDS.values(), ids=lambda record: record.name)
def test_a_record_is_whole(record: Record):
    assert (record.list_files is None) != (record.load is None)
    assert record.source
    assert record.licence
    assert record.get
    assert len(set(record.classes)) == len(record.classes) != 1
    for positive in record.positive:
        chosen = {positive} if isinstance(positive, str) else set(positive)
        assert chosen < set(record.classes)
    if record.sizes:
        assert list(record.sizes) in (["all"], ["train", "validation", "test"])
        assert all(number > 0 for number in record.sizes.values())
    assert record.citation.count("{") == record.citation.count("}")
    if record.mark:  # it has files
        assert record.citation.startswith("@")
        assert record.put("FOLDER").startswith("FOLDER/")


@pytest.mark.parametrize("record", FILE_SETS, ids=lambda record: record.name)
def test_a_set_of_image_files_says_what_tfds_needs(record: Record):
    assert record.folders
    assert record.contents
    assert record.description
    assert re.fullmatch(r"[a-z][a-z0-9_]*", record.base_name)
    assert record.base_name in WRITERS, "the tests need its layout"
    variants = [other.variant for other in FILE_SETS if other.base_name == record.base_name]
    assert len(set(variants)) == len(variants)
    assert all(variants) or len(variants) == 1


@pytest.mark.parametrize("record", FILE_SETS, ids=lambda record: record.name)
def test_it_is_known_in_its_own_file_alone(record: Record):
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    known = {
        name
        for name, path in modules.items()
        if record.base_name in path.read_text(encoding="utf-8").lower()
        and not any(name.startswith(place) for place in ELSEWHERE)
    }
    assert known == {f"datasets/known/{record.base_name}.py"}


def test_the_documentation_names_every_set():
    page = (PACKAGE.parent / "docs" / "image_files.md").read_text(encoding="utf-8")
    names = {record.name for record in RECORDS.values() if "MedMNIST" not in record.source}
    assert {name for name in names if f"`{name}`" not in page} == set()
    assert "MedMNIST" in page


def test_the_documentation_says_where_the_papers_files_belong():
    page = (PACKAGE.parent / "docs" / "image_files.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| (.+) \|$", page, re.M)
    contents = {name: text.replace("`", "") for name, *_, text in rows}
    for record in FILE_SETS:
        assert record.name in contents, f"docs/image_files.md: no row for `{record.name}`"
        told = contents[record.name]
        assert contents[record.base_name if told == "the same" else record.name] == record.contents
    assert {(name, tfds_name, folder) for name, tfds_name, folder, _ in rows} == {
        (r.name, "/".join(filter(None, (r.base_name, r.variant))), r.folders[0]) for r in FILE_SETS
    }


def test_all_are_listed_with_those_that_are_always_there_first():
    listed = [info.name for info in available_datasets(None)]
    known = [record.name for record in RECORDS.values() if not record.rare]
    assert listed == [*known, "tfds:NAME", "folder:PATH", "csv:PATH", "npz:PATH"]
    assert [bool(RECORDS[name].mark) for name in known] == sorted(
        bool(RECORDS[name].mark) for name in known
    )
