"""Calibrators' files: what they say of model and data, and what no edited one can do."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import lsplus_tf as lsp
from lsplus_tf.calibrators import CALIBRATORS, Calibrator, PredictionSets, TemperatureScaling
from lsplus_tf.errors import InputError
from lsplus_tf.version import __version__

EVERY = pytest.mark.parametrize("name", sorted(CALIBRATORS))
ONE, OTHER = (f"sha256:{digit * 64}" for digit in "12")
NAMES = ("healthy", "benign", "malignant")
ANY = st.floats(allow_nan=False, allow_infinity=False, width=64)
HUGE = np.array(
    [
        [1e300, -1e308, 0],
        [1.7e308, 1.7e308, -1.7e308],
        [-1.7e308, -1.7e308, -1.7e308],
        [1e308, 1e308, 1e308],
        [1e300, 1e299, 1e10],
        [5e-324, 0, -5e-324],
        [1e17, 1e17, 1e17],
        [-1e308, 0, 1e-308],
        [0, 0, 0],
        [745, 0, -745],
    ]
)


def predictions(seed: int = 0, samples: int = 90, **changes) -> lsp.Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 3
    logits = 2 * np.eye(3)[labels] + rng.normal(size=(samples, 3))
    given = {"logits": logits, "class_names": NAMES, "model": ONE} | changes
    return lsp.Predictions(labels, **given)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Calibrator]:
    return {name: kind().fit(predictions()) for name, kind in CALIBRATORS.items()}


def check_rows(probabilities: np.ndarray, atol: float = 1e-9) -> None:
    assert np.isfinite(probabilities).all()
    assert ((probabilities >= 0) & (probabilities <= 1 + atol)).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=atol)


# --- any finite logits ----------------------------------------------------------------------------


@EVERY
@settings(deadline=None, max_examples=40)
@given(logits=arrays(np.float64, (2, 3), elements=ANY))
@example(logits=HUGE)
def test_rows_of_any_finite_logits_sum_to_1(fitted, name, logits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_rows(fitted[name].predict_proba(logits))


@pytest.mark.parametrize("name", ["temperature", "weight", "logit_normalization"])
def test_the_class_is_kept_of_huge_logits_too(fitted, name):
    rows = HUGE[[0, 4, 9]]
    assert fitted[name].predict_proba(rows).argmax(axis=1).tolist() == rows.argmax(axis=1).tolist()


def test_logits_are_shrunk_row_by_row_and_usual_ones_not_at_all(fitted):
    one = fitted["vector"]
    expected = one.predict_proba([[3.0, 1.0, 0.5]])
    np.testing.assert_array_equal(one.predict_proba([[3.0, 1.0, 0.5], [1e300, 0, 0]])[:1], expected)


def test_what_cannot_be_fitted_to_numbers_of_a_size_is_told():
    rows = np.array([[1.0, 0], [0, 1.0], [1.0, 0], [0, 1.0]])
    for size in (1e200, 1e-200):
        with pytest.raises(InputError, match=r"logits: .*(size|at most)"):
            TemperatureScaling().fit(rows * size, [0, 1, 1, 1])


# --- edited files ---------------------------------------------------------------------------------

WRONG = (
    float("nan"), float("inf"), -float("inf"), "1e999", -1.0, 0, 1e300, -1e300, 5e-324, 1e-310,
    10**400, 10**30, 2.5, "1", "", [], {}, None, True, [1.0], [[1.0]], {"a": 1},
)  # fmt: skip


def places(value, path=()):
    """The places of a document where something stands; of long arrays the first, two and last."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, 1, len(value) - 1} & {*range(len(value))}):
            yield from places(value[index], (*path, index))


def changed(document, path, value):
    """The text of a document with something else in a place."""
    if not path:
        return json.dumps(value)
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(copy).replace('"1e999"', "1e999")


def without(document, path):
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(copy)


def edits(document):
    for path in places(document):
        for value in WRONG:
            yield path, changed(document, path, value)
        if path:
            yield path, without(document, path)
    for path in places(document):
        inner = document
        for key in path:
            inner = inner[key]
        if isinstance(inner, dict):
            yield path, changed(document, path, {**inner, "more": 1})
        elif isinstance(inner, list):
            yield path, changed(document, path, [*inner, *inner[:1]])
            yield path, changed(document, path, inner[::-1])


@EVERY
def test_an_edited_file_is_refused_or_gives_probabilities(fitted, name):
    one = fitted[name]
    one.held_out_ = HELD_OUT
    document = json.loads(one.to_json())
    assert Calibrator.from_json(json.dumps(document)).to_json() == one.to_json()
    taken, refused = 0, []
    for path, text in edits(document):
        try:
            loaded = Calibrator.from_json(text)
        except InputError as error:
            refused.append(str(error))
            continue
        taken += 1
        assert loaded.n_classes_ < 100 or path == ("n_classes",)
        rows = HUGE if loaded.n_classes_ == 3 else np.zeros((1, loaded.n_classes_))
        check_rows(loaded.predict_proba(rows))
        assert Calibrator.from_json(loaded.to_json()).to_json() == loaded.to_json()
    check_messages(refused, "not a calibrator saved by lsplus_tf")
    assert len(refused) > max(400, 2 * taken)


def check_messages(messages: list[str], start: str) -> None:
    assert [each for each in messages if not each.startswith(start) or "\n" in each] == []
    assert max(map(len, messages)) < 400


def test_edited_sets_are_refused_or_are_sets(fitted):
    held_out = predictions(1, ids=range(90))
    sets = PredictionSets("raps", calibrator=fitted["platt"], class_conditional=True).fit(held_out)
    document = json.loads(sets.to_json())
    taken, refused = 0, []
    for _, text in edits(document):
        try:
            loaded = PredictionSets.from_json(text)
        except InputError as error:
            refused.append(str(error))
            continue
        taken += 1
        if loaded.class_names_ == NAMES:
            assert loaded.predict(held_out).any(axis=1).all()
    check_messages(refused, "not prediction sets saved by lsplus_tf")
    assert len(refused) > max(400, 2 * taken)


@pytest.mark.parametrize(
    ("name", "key", "edit", "said"),
    [
        ("isotonic", "inputs_", lambda rows: [rows[0][::-1], *rows[1:]], "grow"),
        ("isotonic", "inputs_", lambda rows: [[rows[0][0]] * len(rows[0]), *rows[1:]], "grow"),
        ("isotonic", "outputs_", lambda rows: [rows[0][::-1], *rows[1:]], "do not fall"),
        ("isotonic", "outputs_", lambda rows: [[2.0] * len(rows[0]), *rows[1:]], r"\[0, 1\]"),
        ("histogram", "edges_", lambda rows: [rows[0][::-1], *rows[1:]], "grow"),
        ("histogram", "edges_", lambda rows: [[x + 1 for x in rows[0]], *rows[1:]], r"\[0, 1\]"),
        ("weight", "edges_", lambda row: [*row[:-1], row[-2]], "grow"),
        ("weight", "weights_", lambda row: [-0.1, *row[1:]], "weights_"),
        ("temperature", "temperature_", lambda _: -0.67, "above 0"),
        ("temperature", "temperature_", lambda _: 1e-320, "above 0"),
        ("temperature", "temperature_", lambda _: 1e200, "at most"),
        ("vector", "scale_", lambda row: [1e200, *row[1:]], "at most"),
        ("label_shift", "prevalence_", lambda row: [0.5, 0.5, 0.5], "sum to 1"),
        ("logit_normalization", "norm_", lambda _: 0.5, "at least 1"),
    ],
)
def test_what_is_out_of_range_or_order_is_named(fitted, name, key, edit, said):
    document = json.loads(fitted[name].to_json())
    document["fitted"][key] = edit(document["fitted"][key])
    with pytest.raises(InputError, match=said):
        Calibrator.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 3}, r"expected version 1 and 2, received version 3"),
        ({"version": "2"}, "received version '2'"),
        ({"model": "sha256:12"}, "model: expected a fingerprint"),
        ({"data": {"digest": ONE}}, "data: expected digest, cases"),
        ({"data": {"digest": ONE, "cases": 0}}, "cases"),
        ({"inputs": "confidence"}, "inputs: expected 'logits' or 'log-probabilities'"),
        ({"made_by": "a\nb"}, "made_by"),
        ({"held_out": {}}, "held_out: expected cases, folds"),
        ({"calibrator": "temperatur"}, "calibrator: expected one of temperature,"),
        ({"calibrator": ["temperature"]}, "calibrator: expected one of"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(fitted, change, said):
    document = json.loads(fitted["temperature"].to_json()) | change
    with pytest.raises(InputError, match=said):
        Calibrator.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("histogram", {"n_bins": 0}),
        ("weight", {"binning": "equal"}),
        ("matrix", {"bias_penalty": -1}),
        ("class_distribution_temperature", {"class_counts": [1, 2]}),
        ("class_distribution_temperature", {"gamma": "1"}),
        ("logit_normalization", {"norms": [0.5]}),
        ("logit_normalization", {"norms": 3}),
    ],
)
def test_settings_of_a_file_are_checked(fitted, name, change):
    document = json.loads(fitted[name].to_json())
    document["settings"] |= change
    with pytest.raises(InputError, match=next(iter(change))):
        Calibrator.from_json(json.dumps(document))


def test_a_file_is_refused_by_its_size_before_it_is_read(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(2**30)  # takes no place on the disk
    with pytest.raises(InputError, match=r"huge\.json: not a calibrator .*at most 32 MiB"):
        Calibrator.load(path)
    with pytest.raises(InputError, match=r"huge\.json: not prediction sets .*at most 32 MiB"):
        PredictionSets.load(str(path))


@pytest.mark.parametrize("kind", [Calibrator, PredictionSets])
def test_a_damaged_file_is_refused_or_gives_probabilities(fitted, tmp_path, kind):
    sets = PredictionSets(calibrator=fitted["isotonic"]).fit(predictions())
    whole = (fitted["isotonic"] if kind is Calibrator else sets).to_json().encode()
    rng = np.random.default_rng(0)
    damaged = [whole[: len(whole) * part // 10] for part in range(10)]
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    damaged += [
        whole + whole,
        whole[::-1],
        b"\x89HDF\r\n\x1a\n",
        b"PK\x03\x04",
        b"\xff" * 100,
        b"null",
    ]
    path, refused = tmp_path / "file.json", []
    for content in damaged:
        path.write_bytes(content)
        try:
            loaded = kind.load(path)
        except InputError as error:
            refused.append(str(error))
            continue
        if kind is Calibrator:
            check_rows(loaded.predict_proba(HUGE))
        else:
            assert loaded.predict(predictions(class_names=loaded.class_names_)).any(axis=1).all()
    check_messages(refused, f"{path}: not ")
    assert len(refused) > 30
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    for other in (tmp_path, tmp_path / "link.json"):
        with pytest.raises(InputError, match=r"cannot be read|there is no file"):
            kind.load(other)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "NaN", "\x00"])
def test_what_is_no_json_of_a_sensible_size(text):
    for kind in (Calibrator, PredictionSets):
        with pytest.raises(InputError, match=r"^not .* saved by lsplus_tf"):
            kind.from_json(text)


# --- where a calibrator is from -------------------------------------------------------------------

HELD_OUT = {
    "cases": 90,
    "folds": 5,
    "brier": {"before": 0.4, "after": 0.3, "change": [-0.15, -0.05]},
    "ece": {"before": 0.1, "after": 0.05, "change": None},
    "accuracy": {"before": 0.8, "after": 0.8},
    "shown_to_help": True,
}


def test_a_file_says_what_it_was_fitted_to():
    held_out = predictions(ids=[f"case {i}" for i in range(90)])
    one = TemperatureScaling().fit(held_out)
    one.held_out_ = HELD_OUT
    document = json.loads(one.to_json())
    # Restated.
    digest = hashlib.sha256(b"_scores (90, 3)\n" + held_out.logits.astype("<f8").tobytes())
    digest.update(b"_labels (90,)\n" + held_out.labels.astype("<i8").tobytes())
    digest.update(
        b"ids (90,)\n" + b"".join(b"%d:case %d" % (len(f"case {i}"), i) for i in range(90))
    )
    assert document["version"] == 2
    assert document["class_names"] == list(NAMES)
    assert (document["n_classes"], document["inputs"]) == (3, "logits")
    assert document["model"] == ONE
    assert document["data"] == {"digest": f"sha256:{digest.hexdigest()}", "cases": 90}
    assert document["held_out"] == HELD_OUT
    assert document["made_by"] == f"lsplus_tf {__version__}"
    loaded = Calibrator.from_json(json.dumps(document))
    assert loaded.to_json() == one.to_json()
    assert (loaded.model_, loaded.kind_, loaded.held_out_) == (ONE, "logits", HELD_OUT)
    assert one.fit(held_out).held_out_ is None


def test_files_of_version_1_are_read():
    for names in ({}, {"class_names": None}, {"class_names": list(NAMES)}):
        document = {
            "format": "lsplus_tf calibrator",
            "version": 1,
            "calibrator": "temperature",
            "settings": {},
            "n_classes": 3,
            **names,
            "fitted": {"temperature_": 2.0},
        }
        one = Calibrator.from_json(json.dumps(document))
        np.testing.assert_allclose(one.predict_proba([[np.log(4), 0, 0]]), [[0.5, 0.25, 0.25]])
        assert [one.kind_, one.model_, one.data_, one.held_out_, one.made_by_] == [None] * 5
        with pytest.raises(InputError, match="unknown key 'model'"):
            Calibrator.from_json(json.dumps(document | {"model": None}))
    sets = json.loads(PredictionSets().fit(predictions()).to_json())
    first = {key: sets[key] for key in ("format", "settings", "class_names", "thresholds")}
    loaded = PredictionSets.from_json(json.dumps(first | {"version": 1}))
    assert (loaded.class_names_, loaded.model_, loaded.data_) == (NAMES, None, None)


def test_the_kind_of_inputs_is_that_of_the_predictions_and_told_of_arrays():
    held_out = predictions()
    of = lsp.Predictions(held_out.labels, held_out.probabilities)
    assert TemperatureScaling().fit(of).kind_ == "log-probabilities"
    rows = np.log(held_out.probabilities)
    assert TemperatureScaling().fit(rows, held_out.labels).kind_ == "log-probabilities"
    assert TemperatureScaling().fit(rows + 1, held_out.labels).kind_ == "logits"
    assert TemperatureScaling().fit(rows, held_out.labels).model_ is None


@EVERY
def test_another_model_is_warned_of_and_unknown_ones_are_not(fitted, name):
    one = fitted[name]
    loaded = Calibrator.from_json(one.to_json())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.calibrate(predictions())
        one.calibrate(predictions(model=None))
        calibrated = one.calibrate(predictions())
        CALIBRATORS[name]().fit(predictions(model=None)).calibrate(predictions())
    assert calibrated.model is None
    with pytest.warns(UserWarning, match=r"calibrator: fitted to the outputs of another model"):
        loaded.calibrate(predictions(model=OTHER))


def test_sets_warn_of_another_model_once(fitted):
    held_out = predictions()
    for calibrator in (None, fitted["temperature"]):
        sets = PredictionSets(calibrator=calibrator).fit(held_out)
        assert PredictionSets.from_json(sets.to_json()).data_ == sets.data_
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sets.predict(held_out)
            assert caught == []
            sets.predict(predictions(model=OTHER))
        (warned,) = caught
        what = "sets" if calibrator is None else "calibrator"
        assert str(warned.message).startswith(f"{what}: fitted to the outputs of another model")


def test_sets_are_of_the_classes_of_their_calibrator(fitted):
    sets = PredictionSets(calibrator=fitted["temperature"]).fit(predictions())
    document = json.loads(sets.to_json())
    document["class_names"] = list(NAMES[::-1])
    with pytest.raises(InputError, match="in this order"):
        PredictionSets.from_json(json.dumps(document))
    with pytest.raises(InputError, match="predictions: expected the sets' classes healthy, benign"):
        sets.predict(predictions(class_names=NAMES[::-1]))


# --- predictions that know their model ------------------------------------------------------------


def test_predictions_keep_their_model_until_they_have_other_scores():
    some = predictions(sample_weight=np.arange(90))
    kept = [
        some.counted(),
        some.take([3, 1]),
        some.weighted(None),
        some.top_label(),
        some.ordered(NAMES[::-1]),
        some.replace(labels=some.labels[::-1]),
        lsp.predictions.predictions.concatenated([some, some]),
    ]
    assert {each.model for each in kept} == {ONE}
    lost = [
        some.computed("probabilities", some.probabilities),
        some.replace(logits=some.logits * 2),
        lsp.predictions.predictions.concatenated([some, some.replace(model=OTHER)]),
    ]
    assert {each.model for each in lost} == {None}
    for wrong in ("mine", ONE.upper(), 3, ONE[:-1], ONE + "\n"):
        with pytest.raises(InputError, match="model: expected a fingerprint"):
            predictions(model=wrong)


@pytest.mark.parametrize(
    ("array", "model"),
    [
        (np.array(ONE), ONE),
        (np.array([ONE]), ONE),
        (np.array(ONE.encode()), ONE),
        (np.array("resnet50"), None),
        (np.array(["a"] * 90), None),
        (np.array([ONE] * 90), None),
        (np.array([ONE, 3], object), None),
        (np.zeros((90, 200)), None),
        (np.array(3.0), None),
        (None, None),
    ],
    ids=str,
)
def test_an_npz_file_may_name_its_model_or_have_an_array_of_that_name(tmp_path, array, model):
    held_out = predictions()
    arrays_ = {} if array is None else {"model": array}
    np.savez(tmp_path / "p.npz", logits=held_out.logits, labels=held_out.labels, **arrays_)
    assert lsp.read_predictions(tmp_path / "p.npz").model == model


def test_the_digest_is_of_the_numbers_and_not_of_their_bits():
    rows = np.array([[1.0, 0.5], [0.25, 2.0]])
    one = lsp.Predictions([0, 1], logits=rows)
    assert one.digest() == lsp.Predictions([0, 1], logits=rows.astype(np.float32)).digest()
    others = [
        lsp.Predictions([1, 1], logits=rows),
        lsp.Predictions([0, 1], logits=rows[::-1]),
        lsp.Predictions([0, 1], logits=rows, ids=["a", "b"]),
        lsp.Predictions([0, 1], logits=rows, ids=["ab", ""]),
        lsp.Predictions([0, 1], logits=rows, sample_weight=[1, 2]),
        lsp.Predictions(None, logits=rows),
    ]
    assert len({each.digest() for each in [one, *others]}) == 7


def test_paths_may_be_text(tmp_path: Path, fitted):
    fitted["temperature"].save(str(tmp_path / "a.json"))
    assert Calibrator.load(str(tmp_path / "a.json")).same_as(fitted["temperature"])
