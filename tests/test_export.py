"""One model to pass on: as a SavedModel, a Keras file and an ONNX file, against `predict`."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lsplus_tf.backbones import PixelScaling, build_classifier, carrying_features
from lsplus_tf.calibrators import (
    CALIBRATORS,
    Calibrator,
    HistogramBinning,
    PredictionSets,
    TemperatureScaling,
    VectorScaling,
    attach,
)
from lsplus_tf.config import Scaling
from lsplus_tf.deployment import (
    TrainedModel,
    export,
    find_images,
    onnx_files,
    open_model,
    predict_files,
    predict_images,
)
from lsplus_tf.deployment.exporting import export_kind
from lsplus_tf.deployment.graph import OnnxOps, outputs
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Predictions, read_predictions
from lsplus_tf.training import run_folder

NAMES = ("HP", "=SSA|x", "c")  # a formula to spreadsheets, and a separator of sets
NEEDED = ("tf2onnx", "onnx", "onnxruntime")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: extra onnx")


# --- what is exported -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A run of logits, models that end in softmax and sigmoid, what is fitted to them, images."""
    folder = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(3)
    run = folder / "run"
    run.mkdir()
    inputs = keras.Input((8, 8, 1))
    features = keras.layers.Conv2D(4, 3, activation="relu")(PixelScaling("unit")(inputs))
    last = keras.layers.Dense(3)(keras.layers.Flatten()(features))
    keras.Model(inputs, last).save(run / run_folder.MODEL)
    settings = {"image_size": 8, "channels": 1, "interpolation": "bilinear", "scaling": None}
    protocol = {"checkpoint": "last", "early_stopping": None}
    text = json.dumps({"dataset": settings, "protocol": protocol})
    (run / run_folder.SETTINGS).write_text(text)
    run_folder.write_json(run / run_folder.SUMMARY, {"class_names": NAMES})
    logits = rng.normal(size=(60, 3)) * 2
    labels = (logits / 1.5 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    held_out = Predictions(labels, logits=logits, class_names=NAMES)
    run_folder.write_predictions(run, "validation", held_out)
    TemperatureScaling().fit(held_out).save(folder / "run.json")
    for name, units in (("softmax", 3), ("sigmoid", 1)):
        inputs = keras.Input((8, 8, 1))
        flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 500)(inputs))
        last = keras.layers.Dense(units, activation=name)(flat)
        keras.Model(inputs, last).save(folder / f"{name}.keras")
        names = NAMES[: max(units, 2)]
        scores = np.exp(logits[:, : len(names)])
        shares = scores / scores.sum(axis=1, keepdims=True)
        p = Predictions(labels % len(names), shares, class_names=names)
        TemperatureScaling().fit(p).save(folder / f"{name}.json")
        rows = zip(p.labels, p.probabilities, strict=True)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", *(f"probability_{each}" for each in names)])
            writer.writerows([names[label], *row] for label, row in rows)
    (folder / "images" / "b").mkdir(parents=True)
    for k in range(12):
        pixels = rng.integers(0, 256, (20, 9, 1)) * rng.integers(0, 256, (1, 1, 3)) // 256
        Image.fromarray(pixels.astype(np.uint8)).save(
            folder / "images" / ("b" if k % 2 else "") / f"={k}.png"
        )
    (folder / "images" / "notes.txt").write_text("no image")
    return folder


# One of each pair: logits or probabilities, a calibrator or none, raps by class or lac.
EXPORTED = {
    "plain": ("run", "--sets", 0.2, "--sets-method", "raps", "--sets-by-class"),
    "calibrated": (
        *("sigmoid.keras", "--class-names", ",".join(NAMES[:2]), "--calibrator", "sigmoid.json"),
        *("--sets", 0.1, "--sets-from", "sigmoid.csv"),
    ),
}
ENDINGS = ("", ".keras", *([] if MISSING else [".onnx"]))
# What is also used by the script that reads images; of one the script lies in an ONNX file.
BY_THE_SCRIPT = ("plain", "calibrated.onnx")

IN_A_NEW_PROCESS = """
    import contextlib, io, runpy, sys, warnings
    sys.modules["lsplus_tf"] = None  # not even where it is installed
    import json, os
    import numpy as np
    import tensorflow as tf
    import keras
    pixels = np.load("pixels.npy")
    found = {}
    for name in sorted(os.listdir("out")):
        path = f"out/{name}"
        if name.endswith(".keras"):
            if "calibrated" in name:
                try:
                    keras.models.load_model(path)
                except Exception as error:
                    assert "lsplus_tf" in str(error), error
                else:
                    raise AssertionError("it can be loaded")
            else:
                found[name] = {"probabilities": keras.models.load_model(path)(pixels).numpy()}
        elif name.endswith(".onnx"):
            import onnxruntime
            session = onnxruntime.InferenceSession(path)
            names = [output.name for output in session.get_outputs()]
            found[name] = dict(zip(names, session.run(names, {"pixels": pixels})))
            with open("predict_images.py", "w") as file:
                file.write(session.get_modelmeta().custom_metadata_map["predict_images.py"])
        else:
            module = tf.saved_model.load(path)
            assert list(module.signatures) == ["serve", "class_names", "serving_default"]
            given = module.serve(pixels)
            assert {*module.signatures["serving_default"](pixels=pixels)} == {*given}
            found[name] = {name: each.numpy() for name, each in given.items()}
            found[name]["names"] = module.class_names()["class_names"].numpy().astype(str)
    flat = {f"{a}:{b}": each for a, row in found.items() for b, each in row.items()}
    np.savez("found.npz", **flat)
    for name in sys.argv[1:]:
        if name not in found:
            continue
        script = "predict_images.py"
        if not name.endswith(".onnx"):
            script = f"out/{name}/assets.extra/{script}"
        sys.argv = [script, f"out/{name}", "images"]
        with open(f"{name}.csv", "w", newline="") as sys.stdout:
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as ended:
                assert ended.code == 0
    assert not [name for name in sys.modules if name.startswith("lsplus_tf.")]
"""


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers_of(row: dict[str, str]) -> list[float]:
    return [float(each) for name, each in row.items() if name.startswith("probability_")]


def test_each_format_gives_what_predict_gives(call, place, monkeypatch):
    """Without this package, in a new process; with and without a calibrator."""
    monkeypatch.chdir(place)
    Path("out").mkdir()
    found, _ = find_images(["images"])
    expected = {}
    for key, (path, *options) in EXPORTED.items():
        fitted = Calibrator.load("sigmoid.json") if key == "calibrated" else None
        trained = open_model(path, class_names=None if fitted is None else NAMES[:2])
        (batch,) = predict_files(trained, found, calibrator=fitted)
        threshold = round(float(np.median(batch.predictions.confidence)), 3)
        options = (*options, "--abstain-below", threshold)
        # One format by the command, the others by the function, which is quicker.
        one = f"out/{key}.keras"
        code, stdout, stderr = call("export", path, *options, "--out", one)
        assert code == 0, stderr
        assert f"abstains below {threshold:g}" in stdout
        assert f"{'lac' if fitted else 'raps'} sets" in stdout
        assert ("Keras loads it where lsplus_tf is installed" in stdout) == bool(fitted)
        sets = open_model(one).sets
        for ending in {*ENDINGS} - {".keras"}:
            out = f"out/{key}{ending}"
            export(trained, out, calibrator=fitted, abstain_below=threshold, sets=sets)
        code, _, stderr = call("predict", path, "images", *options)
        assert code == 0, stderr
        expected[key] = rows_of(Path("predictions.csv"))
        # The Keras file knows all of it.
        code, stdout, stderr = call("predict", one, "images", "--out", "one.csv")
        assert (code, stderr) == (0, "")
        assert f"abstains below {threshold:g}, as the export says" in stdout
        check(rows_of(Path("one.csv")), expected[key])
    files = [row["file"].removeprefix("'") for row in expected["plain"]]
    grey = (
        Image.open(file).convert("L").resize((8, 8), Image.Resampling.BILINEAR) for file in files
    )
    np.save("pixels.npy", np.stack([np.asarray(each)[..., None] for each in grey]).astype("f4"))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IN_A_NEW_PROCESS), *BY_THE_SCRIPT],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load("found.npz") as found:
        for key, rows in expected.items():
            assert {row["abstained"] for row in rows} == {"yes", "no"}
            for ending in ENDINGS:
                if (ending, key) == (".keras", "calibrated"):
                    assert f"{key}{ending}:probabilities" not in found
                    continue
                check_arrays(lambda what, at=f"{key}{ending}": found[f"{at}:{what}"], rows, ending)
                if f"{key}{ending}" in BY_THE_SCRIPT:
                    check(rows_of(Path(f"{key}{ending}.csv")), rows)
            names = list(found[f"{key}:names"])
            assert names == [*(NAMES[:2] if key == "calibrated" else NAMES)]


def check(found: list[dict[str, str]], expected: list[dict[str, str]]) -> None:
    """The same table, but for rounding."""
    assert [*found[0]] == [*expected[0]]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for column in ("file", "predicted", "abstained", "set"):
            assert one[column] == other[column]
        np.testing.assert_allclose(numbers_of(one), numbers_of(other), rtol=1e-4, atol=1e-6)
        assert float(one["confidence"]) == pytest.approx(max(numbers_of(one)))


def check_arrays(found, rows: list[dict[str, str]], ending: str) -> None:
    probabilities = np.array([numbers_of(row) for row in rows])
    assert found("probabilities").dtype == np.float32
    np.testing.assert_allclose(found("probabilities"), probabilities, rtol=1e-4, atol=1e-6)
    if ending == ".keras":
        return
    names = [name.removeprefix("probability_") for name in rows[0] if "probability_" in name]
    predicted = [row["predicted"].removeprefix("'") for row in rows]
    assert [names[k] for k in found("predicted")] == predicted
    assert ["yes" if each else "no" for each in found("abstained")] == [
        row["abstained"] for row in rows
    ]
    np.testing.assert_allclose(found("confidence"), probabilities.max(axis=1), rtol=1e-4)
    inside = [row["set"].removeprefix("'").split(";") for row in rows]
    found_inside = [[names[k] for k in np.flatnonzero(each)] for each in found("set")]
    assert found_inside == inside


# --- the outputs beside the probabilities ---------------------------------------------------------


def identity(classes: int, *, softmax: bool = False) -> keras.Model:
    """A model whose pixels are its logits, or the probabilities themselves."""
    inputs = keras.Input((1, 1, classes))
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, flat if softmax else keras.layers.Rescaling(1.0)(flat))


@pytest.mark.parametrize("xp", [keras.ops, OnnxOps()], ids=["keras", "onnx"])
@pytest.mark.parametrize("name", [*CALIBRATORS, None])
def test_outputs_are_those_of_calibrators_and_sets(name, xp):
    """Also where scores tie with the threshold: the cases are those that it was fitted to."""
    rng = np.random.default_rng(1)
    logits = (3 * rng.normal(size=(240, 4))).astype(np.float32)
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    given = Predictions(labels, logits=logits, class_names=tuple("abcd"))
    calibrator = None
    if name is not None:
        calibrator = CALIBRATORS[name]().fit(given)
        if name == "label_shift":
            calibrator = calibrator.adapt(prevalence=[0.1, 0.2, 0.3, 0.4])
        given = calibrator.calibrate(given)
    trained = TrainedModel(identity(4), tuple("abcd"), False, True, True, "bilinear")
    threshold = float(np.median(given.confidence))
    for method, by_class, allow_empty in (
        ("lac", False, True), ("aps", True, False), ("raps", False, False), ("lac", True, False),
    ):  # fmt: skip
        sets = PredictionSets(
            method, error_rate=0.25, class_conditional=by_class, allow_empty=allow_empty
        ).fit(given)
        found = outputs(trained, calibrator, threshold, sets, xp)(logits.reshape(-1, 1, 1, 4))
        np.testing.assert_allclose(
            found["probabilities"].numpy(), given.probabilities, rtol=2e-7, atol=1e-9
        )
        np.testing.assert_array_equal(found["predicted"].numpy(), given.predicted)
        np.testing.assert_array_equal(found["abstained"].numpy(), given.confidence < threshold)
        np.testing.assert_array_equal(found["set"].numpy(), sets.predict(given))


@pytest.mark.parametrize("xp", [keras.ops, OnnxOps()], ids=["keras", "onnx"])
@pytest.mark.parametrize("name", CALIBRATORS)
def test_outputs_of_huge_logits_are_those_of_calibrators(name, xp):
    """Of which some calibrators, on their own, would make numbers that are not finite."""
    rng = np.random.default_rng(1)
    logits = 3 * rng.normal(size=(240, 3))
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    calibrator = CALIBRATORS[name]().fit(logits, labels)
    if name == "label_shift":
        calibrator = calibrator.adapt(prevalence=[0.1, 0.2, 0.7])
    inputs = keras.Input((1, 1, 3))
    flat = keras.layers.Flatten(dtype="float64")(inputs)
    for scale in (*[1e30] * 10, 1e8):  # each of which Keras has in float32
        flat = keras.layers.Rescaling(scale, dtype="float64")(flat)
    trained = TrainedModel(keras.Model(inputs, flat), tuple("abc"), False, True, True, "bilinear")
    pixels = rng.uniform(-1.7, 1.7, (40, 1, 1, 3)).astype(np.float32)
    huge = np.asarray(trained.model(pixels))
    assert 1e308 < np.abs(huge).max() < np.inf
    expected = calibrator.predict_proba(huge)
    found = outputs(trained, calibrator, 0.0, None, xp)(pixels)
    np.testing.assert_allclose(found["probabilities"].numpy(), expected, rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_outputs_of_a_softmax_in_few_bits_are_compared_as_predict_compares(precision):
    rng = np.random.default_rng(2)
    pixels = rng.dirichlet(np.ones(3), 200).astype(np.float32)
    inputs = keras.Input((1, 1, 3))
    flat = keras.layers.Flatten(dtype=precision)(inputs)
    model = keras.Model(inputs, keras.layers.Activation("linear", dtype=precision)(flat))
    trained = TrainedModel(model, tuple("abc"), True, True, True, "bilinear")
    received = np.asarray(model.predict_on_batch(pixels.reshape(-1, 1, 1, 3)))
    given = Predictions(np.arange(200) % 3, received)
    threshold = float(given.confidence[7])
    sets = PredictionSets(error_rate=0.3).fit(given)
    found = outputs(trained, None, threshold, sets)(pixels.reshape(-1, 1, 1, 3))
    np.testing.assert_array_equal(found["abstained"].numpy(), given.confidence < threshold)
    np.testing.assert_array_equal(found["predicted"].numpy(), given.predicted)
    np.testing.assert_array_equal(found["set"].numpy(), sets.predict(given))


@pytest.mark.parametrize("made", [lambda function: function, tf.function], ids=["eager", "graph"])
def test_what_is_not_finite_abstains_and_rules_nothing_out(made):
    """In graphs too, where TensorFlow makes `p < t` of `not (p >= t)`."""
    given = Predictions([0, 1] * 10, [[0.8, 0.2], [0.4, 0.6]] * 10)
    sets = PredictionSets().fit(given)
    trained = TrainedModel(identity(2), ("a", "b"), False, True, True, "bilinear")
    pixels = np.array([[np.nan, 1.0], [9.0, 1.0]], np.float32).reshape(2, 1, 1, 2)
    found = made(outputs(trained, None, 0.0, sets))(tf.constant(pixels))
    assert found["abstained"].numpy().tolist() == [True, False]
    assert found["set"].numpy().tolist() == [[True, True], [True, False]]


def test_probabilities_in_32_bits_are_in_the_sets_of_the_same_in_64():
    """Binned probabilities tie with the threshold, from which float32 is off by rounding."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(500, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    binned = HistogramBinning(5).fit(logits, labels).calibrate(Predictions(labels, logits=logits))
    rounded = Predictions(labels, binned.probabilities.astype(np.float32))
    for method in ("lac", "aps", "raps"):
        sets = PredictionSets(method).fit(binned)
        np.testing.assert_array_equal(sets.predict(rounded), sets.predict(binned))


# --- the reading of images ------------------------------------------------------------------------


def images(folder: Path) -> None:
    """Files of all kinds that people have, and broken ones."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    grey, exif = colour.convert("L"), Image.Exif()
    for turned in range(1, 9):
        exif[0x0112] = turned
        for ending in ("png", "jpg", "tif", "webp"):
            colour.save(folder / f"turned_{turned}.{ending}", exif=exif)
    colour.resize((500, 333)).save(folder / "large.jpg")
    grey.resize((333, 500)).save(folder / "large_grey.JPEG")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    colour.convert("P").save(folder / "palette.png")
    colour.convert("P").save(folder / "transparent.png", transparency=3)
    behind = Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8))
    for name, image in (("faint", colour.copy()), ("grey_faint", grey.copy())):
        image.putalpha(behind)
        for turned in (1, 6):
            exif[0x0112] = turned
            for ending in ("png", "tif"):
                image.save(folder / f"{name}_{turned}.{ending}", exif=exif)
    colour.convert("P").save(folder / "one.gif")
    colour.convert("RGBA").save(folder / "alpha.png")
    grey.convert("LA").save(folder / "grey_alpha.png")
    colour.save(folder / "pages.tif", save_all=True, append_images=[colour])
    grey.save(folder / "frames.gif", save_all=True, append_images=[colour.convert("L")])
    for name in ("a.bmp", "a.pgm", "grey.png", "grey.jpg", "lossless.webp"):
        grey.save(folder / name)
    exif[0x0112] = 6
    grey.save(folder / "grey_turned.png", exif=exif)
    grey.convert("1").save(folder / "bilevel.png")
    deep = rng.integers(0, 65536, (40, 30), dtype=np.uint16)
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        Image.fromarray(deep).save(folder / name)
    Image.fromarray(deep.astype(np.float32)).save(folder / "float.tif")
    Image.fromarray(deep.astype(np.int32)).save(folder / "int.tif")
    (folder / "colour.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    # 16-bit colour, which Pillow reads in 8 bits and does not write
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(12)) * 2)
    png = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (folder / "deep_colour.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    whole = (folder / "alpha.png").read_bytes()
    for k, size in enumerate((0, 7, 40, len(whole) // 2, len(whole) - 12)):
        (folder / f"cut_{k}.png").write_bytes(whole[:size])
    jpeg = (folder / "large.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.png").write_text("no image")
    (folder / "a.dcm").write_text("no image")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("corpus")
    images(folder)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("shape", "resize", "convert", "interpolation"),
    [
        ((16, 16), True, True, "bilinear"),
        ((16, 16), True, False, "nearest"),
        ((40, 30), False, True, "bilinear"),
        ((30, 40), False, False, "bilinear"),
    ],
)
def test_the_script_reads_images_as_predict_does(
    corpus, shape, resize, convert, interpolation, channels
):
    """The same pixels, bit by bit, and the same files refused."""
    inputs = keras.Input((*shape, channels))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(flat))
    size = shape[0] * shape[1] * channels
    names = tuple(f"pixel {k}" for k in range(size))
    background = {1: None, 3: "white"}[channels]
    how = (resize, convert, interpolation)
    trained = TrainedModel(model, names, False, *how, background=background)
    description = {
        "background": background,
        "image_shape": [*shape, channels],
        "resize": resize,
        "convert": convert,
        "interpolation": interpolation,
    }
    expected: dict[Path, np.ndarray] = {}
    unread: set[Path] = set()
    for batch in predict_files(trained, [file for file in corpus if file.suffix != ".dcm"]):
        unread |= {*batch.unreadable}
        if batch.predictions is not None:
            ids = map(Path, batch.predictions.ids)
            expected |= zip(ids, batch.predictions.logits, strict=True)
    assert expected
    assert len(unread) > 10
    for file in corpus:
        if file in expected:
            found = predict_images.read_image(str(file), description)
            np.testing.assert_array_equal(found.ravel(), expected[file], str(file))
        else:
            with pytest.raises(predict_images.RefusedError) as refused:
                predict_images.read_image(str(file), description)
            assert "\n" not in str(refused.value)


def test_the_script_finds_what_predict_finds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.png", "a/B/1.JPG", "a.b/3.tif", "z.png", ".git/4.png", "@eaDir/5.png"):
        file = Path("scans", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name in ("scans/notes.txt", "scans/.6.png", "scans/a/Thumbs.db", "elsewhere/7.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("scans/0_linked").symlink_to(tmp_path / "elsewhere")
    Path("scans/1_again").symlink_to(tmp_path / "elsewhere")
    Path("scans/a/inside").symlink_to(tmp_path / "scans" / "a.b")
    Path("scans/a/up").symlink_to(tmp_path)
    Path("scans/nothing.png").symlink_to(tmp_path / "nothing")
    given = ["scans/z.png", "scans/", "./scans/a", "elsewhere"]
    expected, _ = find_images(given)
    assert predict_images.find_images(given) == [*map(str, expected)]
    assert len(expected) == 8


def test_the_script_says_in_a_line_what_is_wrong(tmp_path, capsys, place, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = place / "images" / "=0.png"

    def refused(*arguments: object) -> str:
        assert predict_images.main([*map(str, arguments)]) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        return error

    usage = "usage: predict_images.py [--unreadable skip] MODEL IMAGES..."
    for arguments in ([tmp_path], ["--skip", "a", "b"], ["--unreadable", "skip", tmp_path]):
        assert usage in refused(*arguments)
    assert "expected the folder of a SavedModel, or an ONNX file" in refused(tmp_path, one)
    assert "there is no" in refused(tmp_path, tmp_path / "nowhere")
    assert "no image file in" in refused(tmp_path, tmp_path)
    (tmp_path / "\x1b[31m\x9b\u202e").mkdir()
    assert "in \\x1b[31m\\x9b\\u202e\n" in refused(tmp_path, "\x1b[31m\x9b\u202e")
    (tmp_path / "assets.extra").mkdir()
    export(open_model(place / "softmax.keras"), tmp_path / "served")
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(deep)
    said = refused(tmp_path / "served", one, deep)
    assert f"{deep}: more than 8 bits" in said
    assert "mend it, or give --unreadable skip" in said
    skip = ["--unreadable", "skip", str(tmp_path / "served")]
    assert predict_images.main([*skip, str(deep), str(one)]) == 0
    out, error = capsys.readouterr()
    assert error.startswith(f"skipped {deep}: more than 8 bits")
    assert predict_images.main([*skip[2:], str(one)]) == 0
    assert out == capsys.readouterr().out
    assert predict_images.main([*skip, str(deep)]) == 2
    assert capsys.readouterr().err.endswith("error: images: none can be read\n")


# --- what predict finds in a Keras file -----------------------------------------------------------


def test_options_of_predict_come_before_those_of_the_export(call, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    held_out = read_predictions(Path("softmax.csv"))
    trained = open_model("softmax.keras", class_names=NAMES)
    sets = PredictionSets("aps", error_rate=0.3).fit(held_out)
    one = tmp_path / "one.keras"
    export(trained, one, abstain_below=0.99, sets=sets)

    def predicted(*options: object) -> tuple[list[dict[str, str]], str]:
        code, stdout, stderr = call("predict", one, "images", "--out", "p.csv", *options)
        assert (code, stderr) == (0, "")
        return rows_of(Path("p.csv")), stdout

    rows, stdout = predicted()
    assert "aps sets at an error rate of 0.3, of the export" in stdout
    assert {row["abstained"] for row in rows} == {"yes"}
    rows, stdout = predicted("--abstain-below", 0)
    assert {row["abstained"] for row in rows} == {"no"}
    assert "abstain" not in stdout
    rows, stdout = predicted("--sets", 0.05, "--sets-from", "softmax.csv")
    assert "of the export" not in stdout
    lac = PredictionSets(error_rate=0.05).fit(held_out)
    found = Predictions(None, [numbers_of(row) for row in rows], class_names=NAMES)
    inside = [";".join(np.array(NAMES)[each]) for each in lac.predict(found)]
    assert [row["set"].removeprefix("'") for row in rows] == inside
    # Other names of the classes are those of the sets too.
    rows, _ = predicted("--class-names", "x,y,z")
    assert {*"".join(row["set"] for row in rows)} <= {*"xyz|"}
    code, _, stderr = call(
        "predict", one, "images", "--calibrator", "softmax.json", "--out", "p.csv"
    )
    assert (code, stderr.count("\n")) == (2, 1)
    assert "--calibrator: expected none, as the sets in" in stderr
    # An export of an export keeps what it knows.
    again = tmp_path / "again.keras"
    code, stdout, _ = call("export", one, "--out", again)
    assert (code, "abstains below 0.99" in stdout) == (0, True)
    opened = open_model(again)
    assert (opened.abstain_below, opened.class_names) == (0.99, NAMES)
    assert opened.sets.to_json() == open_model(one).sets.to_json()
    assert open_model(one).sets.thresholds_.tolist() == sets.thresholds_.tolist()


@pytest.fixture(scope="module")
def members(place, tmp_path_factory) -> dict[str, bytes]:
    """What is in a Keras file of export."""
    file = tmp_path_factory.mktemp("described") / "one.keras"
    export(open_model(place / "softmax.keras"), file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": "other"}, "is not one of export"),
        *(({"class_names": each}, "class_names") for each in (5, [["a"], ["b"], ["c"]], [1, 2, 3])),
        *(({"class_names": each}, "class_names") for each in ({"a": 1, "b": 2, "c": 3}, "abc")),
        ({"class_names": ["a", "b"]}, "class_names: expected 3 different names"),
        ({"image_shape": "8x8"}, "image_shape"),
        *(({"resize": each}, "resize") for each in ("no", 1, [])),
        ({"convert": "no"}, "convert"),
        *(({"interpolation": each}, "interpolation") for each in ("cubic", [1], None)),
        *(({"scaling": each}, "scaling") for each in ({"window": 3}, {"cut": [0, 1]}, 1, [])),
        *(({"abstain_below": each}, "abstain_below") for each in (2, "much", None)),
        *(({"sets": each}, "sets: not prediction sets") for each in ({"format": "other"}, [1])),
        ({"threshold": 0.5}, "threshold: unknown key"),
    ],
)
def test_a_damaged_description_is_told(members, tmp_path, changed, said):
    one = tmp_path / "one.keras"
    description = {**json.loads(members["lsplus_tf.json"]), **changed}
    with zipfile.ZipFile(one, "w") as archive:
        for name, content in {**members, "lsplus_tf.json": json.dumps(description)}.items():
            archive.writestr(name, content)
    with pytest.raises(InputError) as error:
        open_model(one)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def within(model: keras.Model) -> keras.Model:
    return keras.Sequential([keras.Input(model.input_shape[1:]), model])


@pytest.mark.parametrize(
    ("mode", "policy", "wrapped"),
    [
        ("caffe", "float32", lambda model: model),
        ("torch", "mixed_float16", lambda model: model),
        ("symmetric", "float32", carrying_features),
        ("torch", "mixed_float16", carrying_features),
        ("unit", "float32", lambda model: within(carrying_features(model))),
    ],
    ids=["caffe", "torch", "features", "features_16", "features_within"],
)
def test_no_layer_of_this_package_is_in_a_keras_file_without_a_calibrator(
    tmp_path, mode, policy, wrapped, float32_afterwards
):
    keras.config.set_dtype_policy(policy)
    model = wrapped(build_classifier("small_residual_cnn", (8, 8, 3), 2, width=0.1, scaling=mode))
    trained = TrainedModel(model, ("a", "b"), False, True, True, "bilinear")
    export(trained, tmp_path / "one.keras")
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        assert b"lsplus_tf" not in archive.read("config.json")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.float32)
    again = keras.models.load_model(tmp_path / "one.keras")
    expected = Predictions(None, logits=model(pixels, training=False).numpy()).probabilities
    found = again(pixels, training=False).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)
    assert any(isinstance(layer, PixelScaling) for layer in model._flatten_layers())  # as it was


# --- what cannot be exported ----------------------------------------------------------------------


@pytest.fixture
def small() -> TrainedModel:
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    return TrainedModel(model, ("a", "b"), False, True, True, "bilinear", Scaling(range=(0, 50)))


def fitted() -> Calibrator:
    return TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])


def test_an_export_carries_how_images_are_read(small, tmp_path):
    trained = TrainedModel(
        small.model, ("a", "b"), False, False, False, "nearest", Scaling(range=(0, 50)), "black"
    )
    export(trained, tmp_path / "one.keras", calibrator=fitted())
    opened = open_model(tmp_path / "one.keras")
    assert (opened.resize, opened.convert, opened.interpolation) == (False, False, "nearest")
    assert (opened.scaling, opened.background) == (Scaling(range=(0, 50)), "black")
    asked = open_model(tmp_path / "one.keras", image_size=4, channels=1, interpolation="bilinear")
    assert (asked.resize, asked.convert, asked.interpolation) == (True, True, "bilinear")


def test_endings_of_other_formats_are_refused(call, place, tmp_path):
    for name in ("m.h5", "m.HDF5", "m.pb", "m.tflite", "m.Keras", "m.ONNX", "m.pt"):
        out = tmp_path / name
        code, stdout, stderr = call("export", place / "softmax.keras", "--out", out)
        assert (code, stdout, stderr.count("\n")) == (2, "", 1)
        assert "--out: expected NAME.keras, NAME.onnx, or a folder for a SavedModel" in stderr
        assert not out.exists()
    assert export_kind("served.v2") is export_kind("served")


def test_nothing_but_an_export_is_replaced(call, place, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    arguments = ("export", place / "softmax.keras", "--class-names", ",".join(NAMES), "--out")
    code, _, stderr = call(*arguments, tmp_path / "notes")
    assert code == 2
    assert "--out: " in stderr
    assert "holds something that is not a SavedModel of export (mine.txt)" in stderr
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"
    for _ in range(2):  # the second replaces the first
        assert call(*arguments, tmp_path / "served")[0] == 0
    (tmp_path / "served" / "assets.extra" / "mine.py").write_text("mine")
    code, _, stderr = call(*arguments, tmp_path / "served")
    assert (code, "holds assets.extra/mine.py beside" in stderr) == (2, True)


@pytest.mark.parametrize("damage", ["cut", "version", "name", "text"])
def test_a_broken_archive_is_no_export_to_replace(small, tmp_path, damage):
    one = tmp_path / "one.keras"
    export(small, one)
    whole = one.read_bytes()
    entry = whole.index(b"PK\x01\x02")
    broken = {
        "cut": whole[:-30],
        "version": whole[: entry + 6] + b"\xff" + whole[entry + 7 :],
        # Said to be in UTF-8, and is not.
        "name": whole[: entry + 9]
        + b"\x08"
        + whole[entry + 10 : entry + 46]
        + b"\xff"
        + whole[entry + 47 :],
        "text": b"no archive",
    }[damage]
    one.write_bytes(broken)
    with pytest.raises(InputError, match=r"out: .* is not a \.keras file of export"):
        export(small, one)
    assert one.read_bytes() == broken


def test_classes_without_names_are_told(call, place, tmp_path):
    code, _, stderr = call("export", place / "softmax.keras", "--out", tmp_path / "one.keras")
    assert code == 0
    assert "the classes of" in stderr
    assert "have no names; give them with --class-names A,B" in stderr


def test_of_another_model_the_calibrator_and_options_say_what_it_does_not(call, place, tmp_path):
    shares = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]]
    held_out = Predictions([0, 1, 2, 2] * 10, shares * 10, class_names=NAMES)
    TemperatureScaling().fit(held_out).save(tmp_path / "fitted.json")
    options = ("--calibrator", tmp_path / "fitted.json", "--out", tmp_path / "one.keras")
    reading = ("--background", "white", "--interpolation", "nearest", "--scaling", "range=0,50")
    code, _, stderr = call("export", place / "softmax.keras", *options, *reading)
    assert (code, stderr) == (0, "")
    opened = open_model(tmp_path / "one.keras")
    assert opened.class_names == NAMES
    assert (opened.background, opened.interpolation) == ("white", "nearest")
    assert opened.scaling == Scaling(range=(0, 50))


def test_sets_that_do_not_fit_are_refused(small, tmp_path):
    given = Predictions([0, 1] * 10, [[0.8, 0.2], [0.4, 0.6]] * 10, ids=[*map(str, range(20))])
    others = Predictions([0, 1] * 10, [[0.8, 0.2], [0.4, 0.6]] * 10, class_names=["b", "a"])
    of_other = TemperatureScaling().fit([[3, 0], [0, 3], [3, 0]], [0, 1, 1])
    cases = (
        (PredictionSets("aps", randomized=True).fit(given), {}, "sets: expected ones that are not"),
        (PredictionSets().fit(others), {}, "sets: expected the model's classes a, b"),
        (
            PredictionSets(calibrator=of_other).fit(given),
            {"calibrator": fitted()},
            "calibrator: expected that of the sets",
        ),
        ("sets.json", {}, "sets: expected PredictionSets, received a str"),
        (None, {"calibrator": "its.json"}, "calibrator: expected a fitted Calibrator, received a"),
    )
    for sets, options, said in cases:
        with pytest.raises(InputError, match=said):
            export(small, tmp_path / "one.keras", sets=sets, **options)
    of_others = PredictionSets().fit(given.replace(model=f"sha256:{'0' * 64}"))
    with pytest.warns(UserWarning, match="sets: fitted to the outputs of another model"):
        export(small, tmp_path / "warned.keras", sets=of_others)
    (tmp_path / "warned.keras").unlink()
    with pytest.raises(InputError, match=r"abstain_below: expected a number in \[0, 1\]"):
        export(small, tmp_path / "one.keras", abstain_below=80)
    assert not [*tmp_path.iterdir()]
    # The calibrator of sets is that of the model.
    export(small, tmp_path / "one.keras", sets=PredictionSets(calibrator=of_other).fit(given))
    pixels = np.ones((1, 4, 4, 1), np.float32)
    found = open_model(tmp_path / "one.keras").model.predict_on_batch(pixels)
    logits = small.model.predict_on_batch(pixels)
    np.testing.assert_allclose(found, of_other.predict_proba(logits), rtol=1e-5)


@pytest.mark.parametrize("unnamed", [("0", "1"), ("class_0", "class_1")])
def test_sets_of_classes_without_names_are_taken_as_calibrators_are(
    call, place, tmp_path, monkeypatch, unnamed
):
    monkeypatch.chdir(tmp_path)
    shares = [[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]] * 10
    held_out = Predictions([0, 1, 1] * 10, shares, class_names=unnamed)
    PredictionSets().fit(held_out).save("sets.json")
    TemperatureScaling().fit(held_out).save("fitted.json")
    rows = [f"{unnamed[k % 2]},{0.9 - k / 100},{0.1 + k / 100}" for k in range(30)]
    headings = ",".join(f"probability_{name}" for name in unnamed)
    Path("held_out.csv").write_text("\n".join([f"label,{headings}", *rows]))
    model = (place / "sigmoid.keras", "--class-names", ",".join(NAMES[:2]))
    for k, options in enumerate((
        ("--calibrator", "fitted.json"),
        ("--sets-from", "sets.json"),
        ("--sets-from", "held_out.csv", "--sets", 0.1),
    )):  # fmt: skip
        code, _, stderr = call("export", *model, *options, "--out", f"{k}.keras")
        assert (code, stderr) == (0, "")
    for k in (1, 2):
        assert open_model(f"{k}.keras").sets.class_names_ == NAMES[:2]


def test_a_calibrated_model_takes_no_other_calibrator(tmp_path):
    model = build_classifier("small_residual_cnn", (8, 8, 1), 2, width=0.1)
    attach(model, fitted()).save(tmp_path / "model.keras")
    trained = open_model(tmp_path / "model.keras")
    with pytest.raises(InputError, match="gives calibrated probabilities"):
        export(trained, tmp_path / "out", calibrator=fitted())
    export(trained, tmp_path / "again.keras")  # as it is
    assert open_model(tmp_path / "again.keras").gives_probabilities


def test_a_calibrator_of_logits_is_not_exported_with_a_softmax(call, place, tmp_path):
    logits, labels = [[2.0, 0, 0], [0, 2, 1], [2, 0, 3]] * 2, [0, 1, 2, 1, 0, 2]
    VectorScaling().fit(logits, labels).save(tmp_path / "v.json")
    out = tmp_path / "one.keras"
    code, stdout, stderr = call(
        "export", place / "softmax.keras", "--calibrator", tmp_path / "v.json", "--out", out,
        "--class-names", "a,b,c",
    )  # fmt: skip
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "vector is a function of the logits" in stderr
    assert not out.exists()


# --- ONNX -----------------------------------------------------------------------------------------


def test_an_onnx_file_without_the_extra_is_one_line(call, place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    out = tmp_path / "one.onnx"
    code, stdout, stderr = call("export", place / "softmax.keras", "--out", out)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "--out: an ONNX file needs the packages tf2onnx, onnx and onnxruntime" in stderr
    assert 'pip install "lsplus_tf[onnx]"' in stderr


@needs_onnx
@pytest.mark.parametrize("name", ["isotonic", "platt", "histogram"])
def test_calibrators_are_converted_to_the_last_bit_of_float32(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(1)
    logits = (3 * rng.normal(size=(240, 3))).astype(np.float32)
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    calibrator = CALIBRATORS[name]().fit(logits, labels)
    given = calibrator.calibrate(Predictions(labels, logits=logits))
    sets = PredictionSets("raps", error_rate=0.3).fit(given)
    trained = TrainedModel(identity(3), tuple("abc"), False, True, True, "bilinear")
    export(trained, tmp_path / "m.onnx", calibrator=calibrator, sets=sets)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = [output.name for output in session.get_outputs()]
    ran = session.run(names, {"pixels": logits.reshape(-1, 1, 1, 3)})
    found = dict(zip(names, ran, strict=True))
    np.testing.assert_allclose(found["probabilities"], given.probabilities, rtol=2e-7, atol=1e-9)
    np.testing.assert_array_equal(found["set"], sets.predict(given))
    assert session.get_inputs()[0].shape == ["batch", 1, 1, 3]


@needs_onnx
def test_a_threshold_between_two_numbers_of_16_bits_is_no_difference(tmp_path):
    """0.8 is above 0.7998 in 64 bits, and the same in 16."""
    inputs = keras.Input((1, 1, 2))
    flat = keras.layers.Flatten()(inputs)
    zeros = keras.layers.Rescaling(0.0, dtype="float16")(flat)
    last = keras.layers.Dense(2, activation="softmax", dtype="float16", use_bias=True)
    model = keras.Model(inputs, last(zeros))
    last.set_weights([np.zeros((2, 2)), np.log([0.8, 0.2])])
    trained = TrainedModel(model, ("a", "b"), True, True, True, "bilinear")
    given = float(model.predict_on_batch(np.ones((1, 1, 1, 2)))[0, 0])
    assert given == float(np.float16(0.8)) < 0.8
    export(trained, tmp_path / "one.onnx", abstain_below=0.8)


@needs_onnx
@pytest.mark.parametrize("method", ["lac", "raps"])
def test_all_outputs_of_an_onnx_file_are_compared(small, tmp_path, monkeypatch, method):
    given = Predictions([0, 1, 1] * 10, [[0.8, 0.2], [0.4, 0.6], [0.6, 0.4]] * 10)
    sets = PredictionSets(method, error_rate=0.2).fit(given)
    run = onnx_files._run
    change: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "probabilities": lambda found: found[:, ::-1],
        "predicted": lambda found: 1 - found,
        "confidence": lambda found: found + 0.01,
        "abstained": np.logical_not,
        "set": np.logical_not,
    }
    for name, changed in change.items():

        def other(content: bytes, pixels: np.ndarray, name=name, changed=changed):
            received = run(content, pixels)
            return {**received, name: changed(received[name])}

        monkeypatch.setattr(onnx_files, "_run", other)
        with pytest.raises(InputError, match=f"tf2onnx converts, it cannot this one .*{name}"):
            export(small, tmp_path / "one.onnx", abstain_below=0.3, sets=sets)
        assert not [*tmp_path.iterdir()]


@needs_onnx
def test_what_cannot_be_an_onnx_file_is_one_line(small, tmp_path):
    inputs = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(inputs)
    few = keras.layers.Dense(3, dtype="mixed_bfloat16")(flat)
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(few))
    trained = TrainedModel(model, ("a", "b"), False, True, True, "bilinear")
    with pytest.raises(InputError, match="out: expected a network that computes in float32 or"):
        export(trained, tmp_path / "one.onnx")
    sums = keras.ops.searchsorted(np.arange(3.0, dtype=np.float32), keras.ops.reshape(flat, (-1,)))
    odd = keras.layers.Dense(2)(keras.ops.cast(keras.ops.reshape(sums, (-1, 16)), "float32"))
    trained = TrainedModel(keras.Model(inputs, odd), ("a", "b"), False, True, True, "bilinear")
    with pytest.raises(InputError, match="out: expected a model that tf2onnx converts") as error:
        export(trained, tmp_path / "one.onnx")
    assert "\n" not in str(error.value)
    (tmp_path / "one.onnx").write_bytes(b"other")
    with pytest.raises(InputError, match="is not an ONNX file of export that lsplus-tf wrote"):
        export(small, tmp_path / "one.onnx")
    for _ in range(2):  # the second replaces the first
        export(small, tmp_path / "two.onnx")
    assert not [path for path in tmp_path.iterdir() if path.name[0] == "."]
