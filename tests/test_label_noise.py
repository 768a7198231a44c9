"""Labels that are wrong on purpose: how many, which, and where they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers import eagerly
from official_layouts import write_chaoyang
from PIL import Image
from scipy.stats import chisquare

from lsplus_tf.config import Dataset, load_config
from lsplus_tf.datasets import ImageDataset, Split, load_dataset
from lsplus_tf.datasets.label_noise import look_alikes, with_label_noise
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run
from lsplus_tf.training import run_folder

CLASSES = ("a", "b", "c", "d")
# In no order, as ids that sort otherwise than they stand.
LABELS = np.random.default_rng(7).permutation(np.repeat(np.arange(4), [100, 50, 7, 1]))


def made(labels: Any = LABELS, *, validation: Any = LABELS) -> ImageDataset:
    def split(labels: Any) -> Split:
        count = len(labels)
        ids = np.random.default_rng(count).permutation(count).astype(str)
        return Split(np.zeros((count, 1, 1, 1), np.uint8), np.asarray(labels, np.int64), ids)

    return ImageDataset("made", CLASSES, split(labels), split(validation), split(LABELS))


def noisy(dataset: ImageDataset, **noise: Any) -> ImageDataset:
    return with_label_noise(dataset, Dataset(name="made", label_noise=noise))


def moves(before: Split, after: Split) -> np.ndarray:
    """How many labels of each class (rows) are of each class now."""
    matrix = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(matrix, (before.labels, after.labels), 1)
    return matrix


# --- how many, and which --------------------------------------------------------------------------

ALIKE = {"a": ["b"], "c": ["a", "d"]}


@pytest.mark.parametrize(
    ("share", "changed"),
    [
        # Of 100, 50, 7 and 1.
        (0.2, [20, 10, 1, 0]),
        (0.4, [40, 20, 3, 0]),
        (0.5, [50, 25, 4, 0]),
        (0.07, [7, 4, 0, 0]),
        (0.001, [0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("confused", [None, ALIKE])
@pytest.mark.parametrize("splits", [["train", "validation"], ["validation"], ["train"], None])
def test_as_many_of_each_class_as_the_share_says(share, changed, confused, splits):
    before = made()
    options = {} if splits is None else {"splits": splits}
    after = noisy(before, share=share, confused=confused, **options)
    expected = np.array(changed)
    if confused is not None:
        expected[[1, 3]] = 0  # they are not named
    for part, split in before.splits():
        matrix = moves(split, getattr(after, part))
        if part == "test" or part not in (splits or ["train", "validation"]):
            assert matrix.tolist() == np.diag([100, 50, 7, 1]).tolist()
            assert getattr(after, part).changed_labels is None
            continue
        assert (matrix.sum(axis=1) - np.diag(matrix)).tolist() == expected.tolist()
        assert getattr(after, part).changed_labels == expected.sum()
        assert (getattr(after, part).true_labels == split.labels).all()
        if confused is not None:
            allowed = np.eye(4, dtype=bool)
            allowed[0, 1] = allowed[2, 0] = allowed[2, 3] = True
            assert not matrix[~allowed].any()


def test_nothing_but_labels_is_another():
    before = made()
    after = noisy(before, share=0.3)
    for part, split in before.splits():
        for field in ("images", "ids", "groups", "votes", "posterior"):
            assert getattr(getattr(after, part), field) is getattr(split, field)
    assert with_label_noise(before, Dataset(name="made")) is before
    some = after.train.take(np.arange(0, 158, 3))
    assert (some.true_labels == before.train.labels[::3]).all()
    assert some.changed_labels == (after.train.labels != before.train.labels)[::3].sum()
    with pytest.raises(InputError, match=r"true_labels: expected shape \(158,\), received \(3,\)"):
        replace(after.train, true_labels=np.zeros(3, np.int64))


@pytest.mark.parametrize(("confused", "targets"), [(None, [1, 2, 3]), ({"a": ["d", "b"]}, [1, 3])])
def test_targets_are_even(confused, targets):
    before = made(np.repeat(np.arange(4), [60_000, 10, 10, 10]))
    after = noisy(before, share=0.4, confused=confused)
    counts = moves(before.train, after.train)[0, 1:]
    assert np.flatnonzero(counts).tolist() == [k - 1 for k in targets]
    assert counts.sum() == 24_000
    assert chisquare(counts[counts > 0]).pvalue > 1e-3
    # Each place is as likely to be wrong as any other: 20 equal stretches of the split.
    wrong = (after.train.labels != before.train.labels)[:60_000].reshape(20, -1).sum(axis=1)
    assert chisquare(wrong).pvalue > 1e-3


def test_a_seed_says_which():
    before = made()
    one = noisy(before, share=0.4)
    assert (noisy(before, share=0.4).train.labels == one.train.labels).all()
    for other in (
        noisy(before, share=0.4, seed=1).train.labels,
        one.validation.labels,  # which has the same labels before
    ):
        assert (other != one.train.labels).sum() > 10


def test_a_larger_share_keeps_what_a_smaller_one_changed():
    before = made().train
    small, large = (noisy(made(), share=share).train for share in (0.2, 0.4))
    wrong = small.labels != before.labels
    assert wrong.sum() == 31
    assert (large.labels[wrong] == small.labels[wrong]).all()


def test_the_order_of_samples_decides_nothing():
    before = made()
    order = np.random.default_rng(1).permutation(len(LABELS))
    turned = ImageDataset(
        "made", CLASSES, before.train.take(order), before.validation.take(order), before.test
    )
    one, other = noisy(before, share=0.4), noisy(turned, share=0.4)
    assert (one.train.labels[order] == other.train.labels).all()
    assert (one.validation.labels[order] == other.validation.labels).all()


# --- every kind of data set -----------------------------------------------------------------------


def write_images(folder: Path) -> list[tuple[str, str]]:
    """60 images of 3 classes, and their paths and classes."""
    rows = []
    for k, name in enumerate(("cat", "dog", "lynx")):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (4, 4), 60 * k + i).save(folder / name / f"{i}.png")
            rows.append((f"{name}/{i}.png", name))
    return rows


def of_folder(path: Path) -> dict[str, Any]:
    write_images(path)
    return {"name": f"folder:{path}", "group_pattern": r"(\d+)"}


def of_table(path: Path) -> dict[str, Any]:
    votes = {"cat": "3,1,0", "dog": "0,4,0", "lynx": "1,1,2"}
    rows = [f"{file},{name},{votes[name]}" for file, name in write_images(path)]
    heading = "path,label,votes_cat,votes_dog,votes_lynx"
    (path / "table.csv").write_text("\n".join([heading, *rows]))
    return {"name": f"csv:{path / 'table.csv'}"}


def of_arrays(path: Path) -> dict[str, Any]:
    labels = np.arange(90) % 3
    np.savez(path / "x.npz", train_images=np.zeros((90, 4, 4), np.uint8), train_labels=labels)
    return {"name": f"npz:{path / 'x.npz'}"}


class LsplusNoise(tfds.core.GeneratorBasedBuilder):
    """Forty grey images of two classes in train."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 1)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(40):
            yield i, {"image": np.full((4, 4, 1), i, np.uint8), "label": i % 2}


def of_tfds(path: Path) -> dict[str, Any]:
    LsplusNoise(data_dir=path).download_and_prepare()
    return {"name": "tfds:lsplus_noise", "data_dir": path}


def of_a_publisher(path: Path) -> dict[str, Any]:
    write_chaoyang(path)
    return {"name": "chaoyang/grouped", "data_dir": path, "image_size": 8}


SOURCES: list[Callable[[Path], dict[str, Any]]] = [
    lambda path: {"name": "digits", "samples_per_class": 30},
    lambda path: {"name": "phantom", "phantom": {"train": 300, "validation": 100, "test": 50}},
    of_folder,
    of_table,
    of_arrays,
    of_tfds,
    of_a_publisher,
]
KINDS = ["known", "phantom", "folder", "table", "npz", "tfds", "official"]


@pytest.mark.parametrize("source", SOURCES, ids=KINDS)
def test_every_kind_of_data_set(source, tmp_path):
    options = source(tmp_path)
    before = load_dataset(**options)
    names = before.class_names
    alike = {names[0]: names[1]}
    for confused in (None, alike):
        after = load_dataset(**options, label_noise={"share": 0.3, "confused": confused})
        for part, split in before.splits():
            now = getattr(after, part)
            wrong = now.labels != split.labels
            expected = [round(0.3 * count) for count in before.counts()[part].tolist()]
            if confused is not None:
                expected = [expected[0], *[0] * (len(names) - 1)]
                assert set(now.labels[wrong]) <= {1}
            if part == "test":
                expected = [0] * len(names)
            else:
                assert now.changed_labels == sum(expected)
            assert np.bincount(split.labels[wrong], minlength=len(names)).tolist() == expected
            for field in ("images", "ids", "groups", "votes", "posterior"):
                np.testing.assert_array_equal(getattr(now, field), getattr(split, field))


def test_what_the_sources_have_beside_labels(tmp_path):
    fields = {"groups": of_folder, "votes": of_table}
    for field, source in fields.items():
        options = source(tmp_path / field)
        assert getattr(load_dataset(**options, label_noise={"share": 0.3}).train, field) is not None


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_files_are_the_same_whatever_the_cache(cache, tmp_path):
    options = of_folder(tmp_path / "images") | {"label_noise": {"share": 0.3}}
    expected = load_dataset(**options, decode=False)
    found = load_dataset(**options, cache=cache, cache_dir=tmp_path / "cache")
    for part, split in expected.splits():
        assert (split.labels == getattr(found, part).labels).all()


def test_images_on_disk_are_those_of_any_noise(tmp_path):
    options = of_folder(tmp_path / "images") | {"cache": "disk", "cache_dir": tmp_path / "cache"}

    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}

    load_dataset(**options)
    before = written()
    assert len(before) == 3
    for noise in ({"share": 0.3}, {"share": 0.5, "confused": {"cat": ["lynx"]}}):
        assert load_dataset(**options, label_noise=noise).train.changed_labels
        assert written() == before


def test_labels_of_what_is_left_of_unreadable_images(tmp_path):
    """The share is that of the images that are there."""
    options = of_folder(tmp_path) | {"unreadable": "skip"}
    for i in (3, 5, 11):
        (tmp_path / "dog" / f"{i}.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="skipped 3 unreadable images"):
        before = load_dataset(**options)
    with pytest.warns(UserWarning, match="skipped 3 unreadable images"):
        after = load_dataset(**options, label_noise={"share": 0.3})
    wrong = before.train.labels[before.train.labels != after.train.labels]
    expected = [round(0.3 * count) for count in before.counts()["train"].tolist()]
    assert np.bincount(wrong).tolist() == expected


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confused", "unknown"),
    [({"cat": ["dig"]}, "dig"), ({"cta": ["dog"], "dog": ["cow"]}, "cta, cow"), ({1: 2}, "1, 2")],
)
def test_look_alikes_are_classes_which_is_said_before_images_are_decoded(
    confused, unknown, tmp_path
):
    options = of_folder(tmp_path)
    (tmp_path / "dog" / "3.png").write_bytes(b"no image")
    asked = []
    with pytest.raises(InputError) as refused:
        load_dataset(
            **options,
            label_noise={"share": 0.2, "confused": confused},
            before_decoding=asked.append,
        )
    assert str(refused.value) == (
        f"dataset.label_noise.confused: expected classes of folder:{tmp_path}, cat, dog, lynx, "
        f"received {unknown}"
    )
    assert asked == []


def test_a_class_does_not_lose_its_last_training_label():
    labels = np.repeat(np.arange(4), [50, 50, 50, 2])
    with pytest.raises(
        InputError,
        match=r"^made: dataset\.label_noise\.share=0\.9 leaves no training label of d; set a small",
    ):
        noisy(made(labels), share=0.9, confused={"d": "a"})
    # Of another split it may, and where others become it, it has not.
    noisy(made(labels), share=0.9, confused={"d": "a"}, splits=["validation"])
    noisy(made(labels), share=0.9, confused={"d": "a", "a": "d"})


def test_classes_that_are_called_by_numbers():
    experiment = load_config("digits", ["dataset.label_noise={share: 0.2, confused: {3: [8, 5]}}"])
    names = tuple(str(k) for k in range(10))
    alike = look_alikes(experiment.dataset, names)
    assert [list(classes) for classes in alike] == [[], [], [], [5, 8], *[[]] * 6]


# --- from the command line ------------------------------------------------------------------------


def test_an_experiment_with_wrong_labels(call, tmp_path):
    out = tmp_path / "out"
    noise = "dataset.label_noise.share=0.4"
    command = [
        *("reproduce", "digits", "--methods", "hard_labels,ls_plus", "--seeds", "0"),
        *("--out", out, "--set", "protocol.epochs=1", "--set", "protocol.schedule=null"),
        *("--set", "backbone.width=0.1", "--set", "dataset.samples_per_class=20"),
    ]
    code, stdout, _ = call(*command, "--set", noise, "--dry-run")
    said = "Label noise: 80 of 200 train labels, 142 of 360 validation labels changed."
    assert code == 0
    assert stdout.replace("\n", " ").count(said) == 1
    with eagerly():
        code, stdout, _ = call(*command, "--set", noise)
    assert code == 0
    assert stdout.replace("\n", " ").count(said) == 1

    true = load_dataset("digits", samples_per_class=20)
    wrong = load_dataset("digits", samples_per_class=20, label_noise={"share": 0.4})
    run = Run("hard_labels", 0).folder(out)
    saved = {part: run_folder.read_predictions(run, part) for part in ("validation", "test")}
    assert (saved["validation"].labels == wrong.validation.labels).all()
    assert (saved["test"].labels == true.test.labels).all()
    summary = run_folder.read_summary(run)
    assert summary["changed_labels"] == {"train": 80, "validation": 142}
    assert summary["samples"]["train"] == wrong.counts()["train"].tolist()
    assert run_folder.read_settings(run)["dataset"]["label_noise"] == {
        "share": 0.4,
        "confused": None,
        "splits": ["train", "validation"],
        "seed": 0,
    }
    # LS+ has its class accuracies from the wrong labels, as it would.
    prior = run_folder.read_json(Run("ls_plus", 0).folder(out), run_folder.PRIOR)
    right = saved["validation"].logits.argmax(axis=1) == wrong.validation.labels
    expected = [right[wrong.validation.labels == k].mean() for k in range(10)]
    np.testing.assert_allclose(prior["measured_class_accuracy"], expected, atol=1e-12)
    page = (out / "report_selected" / "report.html").read_text(encoding="utf-8")
    assert (
        "Labels are wrong on purpose: 40% of the train and validation labels of every class, "
        "changed to any other (dataset.label_noise, seed 0); those of the test split are not."
    ) in page

    for other in ("dataset.label_noise.seed=1", "dataset.label_noise=null"):
        code, _, stderr = call(*command, "--set", noise, "--set", other)
        assert code == 2
        assert "dataset.label_noise" in stderr
        assert stderr.count("\n") == 1
