"""Which samples a split gets: whole groups, samples per class, and what goes with a sample."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from lsplus_tf.config import Dataset
from lsplus_tf.datasets import Split, load_dataset
from lsplus_tf.datasets.splitting import (
    complete_splits,
    match_splits,
    sample_per_class,
)
from lsplus_tf.errors import InputError
from lsplus_tf.tables.splits import SPLIT_NAMES, split_meanings

CLASSES = ("a", "b", "c")


def made(labels, groups=None) -> Split:
    """Image i is made of pixels i, and all that goes with it tells i too."""
    index = np.arange(len(labels))
    return Split(
        index.astype(np.uint8)[:, None, None, None],
        np.asarray(labels, np.int64),
        np.array([f"id {i}" for i in index]),
        None if groups is None else np.asarray(groups, np.str_),
        votes=np.stack([index, index + 1, index + 2], axis=1),
        posterior=np.stack([index, index / 2, index / 3], axis=1),
        true_labels=index + 3,
    )


def carve(split: Split, *, fraction=0.2, seed=0) -> dict[str, Split]:
    return complete_splits({"train": split}, CLASSES, carving(fraction, seed))


def carving(fraction: float, seed: int) -> Dataset:
    return Dataset(
        name="made", validation_fraction=fraction, test_fraction=fraction, split_seed=seed
    )


def drawing(count: int, seed: int = 0) -> Dataset:
    return Dataset(name="made", samples_per_class=count, split_seed=seed)


def indices(split: Split) -> list[int]:
    """What all fields of a split's rows agree on."""
    index = split.images[:, 0, 0, 0].astype(int)
    assert split.ids.tolist() == [f"id {i}" for i in index]
    np.testing.assert_array_equal(split.votes, index[:, None] + np.arange(3))
    np.testing.assert_allclose(split.posterior, index[:, None] / np.arange(1, 4))
    assert (split.true_labels == np.array(index) + 3).all()
    return index.tolist()


def test_take_keeps_all_that_goes_with_a_sample():
    split = made([0, 1, 2, 0], groups=["p", "q", "r", "s"])
    taken = split.take(np.array([3, 1]))
    assert indices(taken) == [3, 1]
    assert taken.groups.tolist() == ["s", "q"]
    assert taken.labels.tolist() == [0, 1]
    fields = dataclasses.fields(Split)
    assert all(getattr(taken, field.name) is not None for field in fields)


@pytest.mark.parametrize("seed", range(10))
def test_a_group_is_in_one_split(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 60, 240)
    labels = (groups + rng.integers(0, 2, 240)) % 3  # groups of mixed classes
    splits = carve(made(labels, groups), seed=seed)
    found = {part: set(split.groups) for part, split in splits.items()}
    assert set.union(*found.values()) == {str(g) for g in groups}
    assert sum(map(len, found.values())) == len(np.unique(groups))
    carved = np.concatenate([indices(split) for split in splits.values()])
    assert sorted(carved) == list(range(240))
    shares = {part: len(split) / 240 for part, split in splits.items()}
    assert shares == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.05)
    for split in splits.values():
        share = np.bincount(split.labels, minlength=3) / len(split)
        np.testing.assert_allclose(share, np.bincount(labels) / 240, atol=0.12)
    again = carve(made(labels, groups), seed=seed)
    assert all(splits[part].ids.tolist() == again[part].ids.tolist() for part in splits)


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_is_in_every_part_where_that_is_possible(seed):
    """Three groups of the rare class, of 43: one for each part."""
    groups = np.repeat(np.arange(43), 4)
    labels = np.where(groups < 20, 0, np.where(groups < 40, 1, 2))
    for split in carve(made(labels, groups), seed=seed).values():
        assert 2 in split.labels


def test_groups_that_cannot_be_carved():
    with pytest.raises(InputError, match=r"test_fraction=0\.2: expected at least 5 groups .* 3"):
        carve(made([0, 1, 2] * 10, groups=[0, 1, 2] * 10))
    labels = [0, 1] * 20 + [2] * 4
    with pytest.raises(
        InputError, match=r"class 'c' has too few samples \(4\) or groups to be in both parts"
    ):
        carve(made(labels, groups=[*range(40), *["one"] * 4]))


def test_groups_of_a_folder_stay_together(tmp_path):
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(30):
            image = Image.new("L", (4, 4), 8 * i + k)
            image.save(tmp_path / name / f"{k}{i // 3}-IMG{i % 3}.png")
    for cache in ("memory", "none"):
        dataset = load_dataset(
            f"folder:{tmp_path}", group_pattern="([^/]*)-IMG", split_seed=3, cache=cache
        )
        for _, split in dataset.splits():
            names, counts = np.unique(split.groups, return_counts=True)
            assert (counts == 3).all()
            assert set(names) == {str(i).split("/")[1].split("-")[0] for i in split.ids}


def test_samples_per_class():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 30, 10]))
    split = made(labels)
    drawn = np.zeros(90)
    for seed in range(200):
        taken = sample_per_class(split, CLASSES, drawing(5, seed))
        assert np.bincount(taken.labels).tolist() == [5, 5, 5]
        index = indices(taken)
        assert index == sorted(set(index))
        drawn[index] += 1
        again = sample_per_class(split, CLASSES, drawing(5, seed))
        assert indices(again) == index
    # A sample of class k is drawn with chance 5 / n_k, 200 times.
    chance = 5 / np.bincount(labels)[labels]
    z = (drawn - 200 * chance) / np.sqrt(200 * chance * (1 - chance))
    assert np.abs(z).max() < 4.5
    assert len(sample_per_class(split, CLASSES, drawing(10))) == 30


def test_too_few_samples_per_class():
    with pytest.raises(
        InputError,
        match=r"made: dataset\.samples_per_class=3, but class 'b' has 2 training samples \(2 such",
    ):
        sample_per_class(made([0, 0, 0, 1, 1, 2]), CLASSES, drawing(3))


def test_samples_per_class_leave_the_evaluation_splits():
    whole = load_dataset("digits")
    sample = load_dataset("digits", samples_per_class=7)
    assert sample.counts()["train"].tolist() == [7] * 10
    assert set(sample.train.ids) < set(whole.train.ids)
    for part in ("validation", "test"):
        assert list(getattr(sample, part).ids) == list(getattr(whole, part).ids)


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_names_of_splits(case):
    for name, part in SPLIT_NAMES.items():
        assert split_meanings([case(name), "other"], "x") == {case(name): part}
    for name in map(case, ("dev", "eval")):
        assert split_meanings([name], "x") == {}  # nothing else says that these are splits
        assert match_splits(["train", name, "notes"], "x") == {"train": "train", "validation": name}
        with pytest.raises(
            InputError, match=f"x: 'valid' and '{name}' could both be the validation"
        ):
            split_meanings(["train", name, "valid"], "x")
    with pytest.raises(
        InputError, match=r"could both be the validation split; call one validation"
    ):
        match_splits(["train", case("dev"), case("eval")], "x")
    with pytest.raises(InputError, match="both a test split; keep one"):
        match_splits(["train", "test", case("tst")], "x")
    with pytest.raises(InputError, match="expected a split 'train' or 'training', found "):
        match_splits(["test", "dev"], "x")
