"""A table of the cases beside their predictions, and numbers cut into ranges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Columns, Predictions, in_ranges, read_predictions

IDS = ["images/a.png", "images/b.png", "images/c.png"]
CASES = pd.DataFrame(
    {
        "path": ["images/x.png", "images/c.png", "images/a.png", "images/b.png"],
        "sex": ["male", "female", "", "male"],
        "age": ["", "60", "40", "39.5"],
        "patient": ["p9", "p1", "p1", "p2"],
        "counts": [9, 3, 1, 2],
    }
)
WANTED = Columns(subgroups=["sex", "age:40,60"])


def predictions_in(folder, kind, ids=IDS, **more):
    """A file of three cases, as a run or another framework writes it."""
    labels, rows = [0, 1, 1], np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    path = folder / f"predictions.{kind}"
    if kind == "npz":
        np.savez(path, labels=labels, probabilities=rows, ids=np.array(ids), **more)
    else:
        table = pd.DataFrame({"id": ids, "label": labels, "p_0": rows[:, 0], "p_1": rows[:, 1]})
        table = table.assign(**more)
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path, index=False)
    return path


def cases_in(folder, table=CASES, name="cases.csv"):
    path = folder / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("name", ["cases.csv", "cases.parquet"])
def test_subgroups_are_found_by_the_ids(tmp_path, kind, name):
    found = read_predictions(
        predictions_in(tmp_path, kind), WANTED, cases=cases_in(tmp_path, name=name)
    )
    assert list(found.subgroups) == ["sex", "age"]
    assert list(found.subgroups["sex"]) == ["(missing)", "male", "female"]
    assert list(found.subgroups["age"]) == ["40 to below 60", "below 40", "60 and above"]
    assert found.ids.tolist() == IDS
    assert found.groups is None
    assert found.sample_weight is None
    assert found.unused == ("patient", "counts")


def test_groups_and_weights_are_taken_too_where_they_are_declared(tmp_path):
    columns = Columns(subgroups=["sex"], group="patient", weight="counts")
    for kind in ("npz", "csv"):
        own = {"groups" if kind == "npz" else "group": ["g1", "g2", "g3"]}
        file = predictions_in(tmp_path, kind, **own)
        found = read_predictions(file, columns, cases=cases_in(tmp_path))
        assert found.group_names[found.groups].tolist() == ["p1", "p2", "p1"]
        assert found.sample_weight.tolist() == [1, 2, 3]
        kept = read_predictions(file, WANTED, cases=cases_in(tmp_path))
        assert kept.group_names[kept.groups].tolist() == ["g1", "g2", "g3"]
        assert kept.unused == ("counts",)


def test_what_the_file_has_is_its_own(tmp_path):
    file = predictions_in(tmp_path, "csv", sex=["f", "m", "f"])
    columns = Columns(subgroups=["age:50", "sex"])
    found = read_predictions(file, columns, cases=cases_in(tmp_path))
    assert list(found.subgroups) == ["age", "sex"]
    assert list(found.subgroups["sex"]) == ["f", "m", "f"]
    alone = read_predictions(file, Columns(subgroups=["sex"]), cases=cases_in(tmp_path))
    assert list(alone.subgroups["sex"]) == ["f", "m", "f"]


@pytest.mark.parametrize(
    ("ids", "column", "here"),
    [
        (IDS, "id", IDS),
        (IDS, "image_id", ["a", "b", "c"]),
        (["a", "b", "c"], "filename", ["C:\\data\\a.PNG", "C:\\data\\b.PNG", "C:\\data\\c.PNG"]),
        (["a.b.jpg", "a.c.jpg", "d.jpg"], "image", ["a.b", "a.c", "d"]),
        (["7", "8", "10"], "id", [7, 8, 10]),
        (["7.0", "8.0", "10.0"], "id", ["7", "8", "10"]),
        (["007", "7", "8"], "id", ["007", "7", "8"]),
        (["x/1.png", "y/1.png", "y/2.png"], "path", ["x/1.png", "y/1.png", "y/2.png"]),
        (["a ", "b", "c"], "ID", [" a", "b", "c"]),
        # Paths that begin in different folders, where names of files are not enough.
        (["set/x/1.png", "set/y/1.png", "set/y/2.png"], "path", ["x/1.png", "y/1.png", "y/2.png"]),
        (["x/1.png", "y/1.png", "z/1.png"], "path", ["/d/x/1.png", "/d/y/1.png", "/d/z/1.png"]),
        (
            ["x/1.png", "y/1.png", "z/1.png"],
            "path",
            [r"C:\d\x\1.png", r"C:\d\y\1.png", r"C:\d\z\1.png"],
        ),
        (["a/b/c/1", "a/b/d/1", "a/a/c/1"], "id", ["x/b/c/1", "x/b/d/1", "x/a/c/1"]),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_ids_are_matched_as_written_or_as_names_of_files(tmp_path, kind, ids, column, here):
    table = pd.DataFrame({column: here, "site": ["x", "y", "z"]}).iloc[::-1]
    found = read_predictions(
        predictions_in(tmp_path, kind, ids),
        Columns(subgroups=["site"]),
        cases=cases_in(tmp_path, table),
    )
    assert list(found.subgroups["site"]) == ["x", "y", "z"]


def test_the_column_of_ids_is_declared_or_is_the_one_that_has_them(tmp_path):
    table = CASES.rename(columns={"path": "what"}).assign(id=range(4))
    columns = Columns(subgroups=["sex"], id="what")
    for kind in ("npz", "csv"):
        found = read_predictions(
            predictions_in(tmp_path, kind), columns, cases=cases_in(tmp_path, table)
        )
        assert list(found.subgroups["sex"]) == ["(missing)", "male", "female"]
    both = CASES.assign(id=range(4))
    found = read_predictions(
        predictions_in(tmp_path, "csv"), Columns(subgroups=["sex"]), cases=cases_in(tmp_path, both)
    )
    assert list(found.subgroups["sex"]) == ["(missing)", "male", "female"]


def test_a_file_whose_ids_are_called_as_files_of_images(tmp_path):
    path = predictions_in(tmp_path, "csv")
    pd.read_csv(path).rename(columns={"id": "filename"}).to_csv(path, index=False)
    found = read_predictions(path, WANTED, cases=cases_in(tmp_path))
    assert found.ids.tolist() == IDS


def test_only_the_rows_of_the_split_are_looked_for(tmp_path):
    file = predictions_in(tmp_path, "csv", split=["test", "test", "val"])
    table = CASES[CASES["path"] != "images/c.png"]
    columns = Columns(subgroups=["sex"], take_split="test")
    found = read_predictions(file, columns, cases=cases_in(tmp_path, table))
    assert list(found.subgroups["sex"]) == ["(missing)", "male"]


@pytest.mark.parametrize(
    ("columns", "change", "message"),
    [
        ({}, lambda t: t.iloc[:2], "found none for 2: 'images/a.png', 'images/b.png'"),
        ({}, lambda t: t.assign(path=list("uvwx")), "found none of them in column 'path', with"),
        (
            {},
            lambda t: pd.concat([t, t.iloc[[2]]]),
            "expected every case of .* once, received 'images/a.png' at lines 4 and 6",
        ),
        ({}, lambda t: t.rename(columns={"path": "what"}), "expected a column of ids, as pred"),
        ({"subgroups": ["sexx"]}, lambda t: t, "--subgroup: expected 'sexx' here or in .*'sex'"),
        ({"group": "lesion"}, lambda t: t, "--group: expected 'lesion' here or in"),
        ({"subgroups": []}, lambda t: t, "expected beside columns that are taken from it"),
        (
            {"subgroups": ["sex:1,2"]},
            lambda t: t,
            "subgroup sex: expected numbers, .* at lines 5 and 3",
        ),
        ({"subgroups": ["age:60,40"]}, lambda t: t, "cuts in ascending order.*'age:60,40'"),
        (
            {"group": "patient"},
            lambda t: t.assign(patient=["", "p", None, "p"]),
            "groups: expected a value, received none at line 4",
        ),
        (
            {"weight": "counts"},
            lambda t: t.assign(counts=[-9, 1, -1, 1]),
            "sample_weight: expected finite numbers of at least 0, received -1.0 at line 4",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_table_that_does_not_fit_is_told_in_a_line(tmp_path, kind, columns, change, message):
    file, table = predictions_in(tmp_path, kind), cases_in(tmp_path, change(CASES))
    with pytest.raises(InputError, match=message) as error:
        read_predictions(file, Columns(**({"subgroups": ["sex"]} | columns)), cases=table)
    assert "\n" not in str(error.value)


def test_predictions_without_ids_are_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("label,p_0,p_1\n0,.9,.1\n1,.2,.8\n")
    with pytest.raises(InputError, match=r"expected ids, to find its cases in .*cases.csv"):
        read_predictions(path, WANTED, cases=cases_in(tmp_path))


def test_the_command_takes_a_table_of_the_cases(call, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.dirichlet([1, 1], 200)
    labels = (rng.random(200) < rows[:, 1]).astype(int)
    ids = [f"images/{k}.jpg" for k in range(200)]
    run = tmp_path / "predictions_test.npz"
    np.savez(run, logits=np.log(rows), labels=labels, ids=ids, groups=np.arange(200) // 2)
    sex = np.where(rng.random(250) < 0.5, "f", "m")
    table = pd.DataFrame({"image_id": range(250), "sex": sex, "age": rng.integers(20, 90, 250)})
    table.to_csv(tmp_path / "cases.csv", index=False)
    options = ("--subgroup", "sex", "--subgroup", "age:40,60", "--positive", "1")
    options += ("--cases", tmp_path / "cases.csv", "--out", tmp_path / "out", "--resamples", "200")
    code, stdout, stderr = call("audit", run, *options, columns=200)
    assert code == 0, stderr
    assert "age: 40 to below 60" in stdout
    parts = pd.read_csv(tmp_path / "out" / "parts.csv")
    counts = table.iloc[:200].groupby(pd.cut(table["age"][:200], [0, 40, 60, 99], right=False))
    expected = counts.size().tolist()
    assert parts[parts["by"] == "age"]["cases"].tolist() == expected
    found = pd.read_csv(tmp_path / "out" / "subgroups.csv")
    assert set(found["by"]) == {"sex", "age"}
    code, _, stderr = call("audit", run, "--subgroup", "sex", "--cases", tmp_path / "none.csv")
    assert code == 2
    assert "none.csv: expected a table of the cases" in stderr
    code, _, stderr = call("audit", run, *options[:-4], "--out", tmp_path / "cases.csv")
    assert code == 2


# Ranges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[40], [40, 60], [0.5, 40, 60, 80.25]])
def test_ranges_are_those_of_pandas(cuts):
    values = np.concatenate([np.random.default_rng(0).integers(0, 90, 300), cuts, [0, 1e9, -5]])
    found = in_ranges(values, cuts)
    expected = pd.cut(values, [-np.inf, *cuts, np.inf], right=False)
    np.testing.assert_array_equal(found.codes, expected.codes)
    assert found.categories[0] == f"below {cuts[0]:g}"
    assert found.categories[-1] == f"{cuts[-1]:g} and above"


def test_numbers_as_text_and_missing_ones():
    found = in_ranges(["39", " 40.0 ", "", None, np.nan, 7], [40])
    assert found.codes.tolist() == [0, 1, -1, -1, -1, 0]


@pytest.mark.parametrize("cuts", [[], [60, 40], [40, 40], [float("nan")], [float("inf")]])
def test_cuts_that_are_none(cuts):
    with pytest.raises(InputError, match="cuts: expected one or more ascending numbers"):
        in_ranges([1, 2], cuts)
    with pytest.raises(InputError, match=r"values: expected numbers.* received 'x' at row 1"):
        in_ranges([1, "x"], [3])


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_column_that_is_called_so_wins(tmp_path, kind):
    more = {"age": [30, 40, 50], "age:40": ["u", "v", "w"]}
    file = predictions_in(tmp_path, kind, **more)
    found = read_predictions(file, Columns(subgroups=["age:40"])).subgroups
    assert list(found["age:40"]) == ["u", "v", "w"]
    both = read_predictions(file, Columns(subgroups=["age", "age:50"])).subgroups
    assert {name: list(each) for name, each in both.items()} == {
        "age": ["30", "40", "50"],
        "age:50": ["below 50", "below 50", "50 and above"],
    }


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([10.0, 9.0, np.nan, 80.0], ["9", "10", "80", "(missing)"]),
        (["10", "9", "", "-1.5"], ["-1.5", "9", "10", "(missing)"]),
        (["b", "a", None, "10"], ["10", "a", "b", "(missing)"]),
        (pd.Categorical(["lo", "hi", None, "lo"], ["none", "lo", "hi"]), ["lo", "hi", "(missing)"]),
        (pd.Series(["lo", "hi", "lo", "lo"]).astype("category"), ["hi", "lo"]),
        (pd.cut([1, 25, 3, 99], [0, 10, 30, 100]), ["(0, 10]", "(10, 30]", "(30, 100]"]),
    ],
)
def test_subgroups_are_in_their_order(values, order):
    rows = [[0.9, 0.1], [0.2, 0.8]] * 2
    found = Predictions([0, 1, 0, 1], rows, subgroups={"of": values}).subgroups["of"]
    assert list(found.categories) == order


def test_many_numbers_say_how_they_are_cut():
    with pytest.raises(InputError, match=r"received 60; cut numbers .* --subgroup age:40,60"):
        lsp.Predictions(
            [0] * 60, logits=np.arange(120.0).reshape(60, 2), subgroups={"age": np.arange(60)}
        )
