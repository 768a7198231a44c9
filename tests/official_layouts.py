"""Small data sets in their publishers' layouts, written by hand for the tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ISIC_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # the official order
ISIC_WORDS = ("Training", "Validation", "Test")
MHIST_COLUMNS = (
    "Image Name",
    "Majority Vote Label",
    "Number of Annotators who Selected SSA (Out of 7)",
    "Partition",
)


def save_image(path: Path, label: int = 0, *, size: int = 16, seed: int = 0) -> Path:
    """Noise around a grey level that tells the label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, label])
    pixels = rng.normal(40 + 30 * (label % 7), 10, (size, size, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def save_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    return path


def write_mhist(root: Path, *, train: int = 20, test: int = 6) -> Path:
    rows = []
    for i in range(train + test):
        name, votes = f"MHIST_a{i:02}.png", (i * 3) % 8
        label = int(votes > 3)
        save_image(root / "images" / name, label, seed=i)
        rows.append((name, ("HP", "SSA")[label], votes, "train" if i < train else "test"))
    save_csv(root / "annotations.csv", MHIST_COLUMNS, rows)
    return root


def write_chaoyang(root: Path, *, slides: int = 10, votes: bool = True) -> Path:
    """One patch of every class from every slide for training, and from four for testing."""
    for part, count in (("train", slides), ("test", 4)):
        entries = []
        for i in range(count):
            for label in range(4):
                name = f"{part}/{i}_1-IMG00{i}x00{label}-{label}.JPG"
                save_image(root / name, label, seed=i + (1000 if part == "test" else 0))
                entry: dict[str, object] = {"label": label, "name": name}
                if votes:
                    entry |= {"label_A": label, "label_B": label, "label_C": (label + i) % 4}
                entries.append(entry)
        (root / f"{part}.json").write_text(json.dumps(entries))
    return root


def write_isic2018(root: Path, *, lesions: bool = True) -> Path:
    number, groups = 24306, []
    for word, count in zip(ISIC_WORDS, (3, 1, 2), strict=True):
        rows = []
        for i in range(7 * count):
            name, column = f"ISIC_{number:07}", i % 7
            number += 1
            save_image(root / f"ISIC2018_Task3_{word}_Input" / f"{name}.jpg", column, seed=number)
            rows.append((name, *(float(column == k) for k in range(7))))
            if word == "Training":
                groups.append((name, f"HAM_{i // 2:07}", "histopathology"))
        truth = f"ISIC2018_Task3_{word}_GroundTruth"
        save_csv(root / truth / f"{truth}.csv", ("image", *ISIC_COLUMNS), rows)
        (root / f"ISIC2018_Task3_{word}_Input" / "LICENSE.txt").touch()
    if lesions:
        save_csv(
            root / "ISIC2018_Task3_Training_LesionGroupings.csv",
            ("image", "lesion_id", "diagnosis_confirm_type"),
            groups,
        )
    return root


def radimagenet_label(k: int) -> tuple[str, str]:
    """The folder and the label of a class; ultrasound has no folder for the finding."""
    if k % 3 == 2:
        return f"radiology_ai/US/organ{k:03}", f"organ{k:03}"
    return f"radiology_ai/{('CT', 'MR')[k % 3]}/abd/finding{k:03}", f"finding{k:03}"


def write_radimagenet(root: Path, *, classes: int = 165) -> Path:
    number = 0
    for word, labels in (
        ("train", list(range(classes))[::-1] * 2),
        ("val", list(range(0, classes, 20))),
        ("test", list(range(0, classes, 15))),
    ):
        rows = []
        for k in labels:
            folder, label = radimagenet_label(k)
            number += 1
            save_image(root / folder / f"{number:06}.png", k, size=8, seed=number)
            rows.append((f"{folder}/{number:06}.png", label))
        save_csv(root / f"RadiologyAI_{word}.csv", ("filename", "label"), rows)
    return root


WRITERS = {
    "mhist": write_mhist,
    "chaoyang": write_chaoyang,
    "isic2018": write_isic2018,
    "radimagenet": write_radimagenet,
}
