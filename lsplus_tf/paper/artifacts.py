"""What the LS+ authors published beside their code, read from a clone of their repository.

Source: github.com/abhisheksambyal/lsplus at commit 6618d89. A part of a clone will do: what is
missing and what cannot be used is noted, and the rest is read.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsplus_tf.errors import InputError, one_line
from lsplus_tf.metrics import softmax

DATASETS = ("chaoyang", "mhist", "isic2018")
BACKBONES = ("resnet34", "resnet50")
METHODS = ("hard_labels", "label_smoothing", "focal", "dca", "mdca", "ls_plus")
RUNS = (1, 2, 3)
NUM_CLASSES = {"chaoyang": 4, "mhist": 2, "isic2018": 7}
TEST_SIZE = {"chaoyang": 2139, "mhist": 977, "isic2018": 1512}
ANNOTATORS = 7  # pathologists who voted on each image of MHIST
CURVE_POINTS = 200

_CODE = {"chaoyang": "d1_chaoyang_code", "mhist": "d2_mhist_code", "isic2018": "d3_skin_code"}
_TEMPERATURE = {
    "chaoyang": "d1_ablation/d1_chaoyang_code_with_T",
    "mhist": "d2_ablation/d2_mhist_code_with_T",
}
_ECE_KDE = "d2_ablation/d2_mhist_ecekde"
_TEST_LABELS = "MHIST/test_labels.csv"
_ANNOTATIONS = "MHIST/annotations.csv"
# The name of a method in metrics.csv and histogram_plots, in numpy_files and metrics_ecekde.csv
# (there in small letters), and in retention_curve_files.
_NAMES = dict(
    zip(
        METHODS,
        ("BASELINE", "LS", "BASELINE_FL", "BASELINE_DCA", "BASELINE_MDCA", "OURS_ALPHA05"),
        strict=True,
    )
)
_CURVES = dict(zip(METHODS, ("baseline", "LS", "FL", "dca", "mdca", "ours"), strict=True))
_HISTOGRAMS = {"chaoyang": "d1", "mhist": "MHIST", "isic2018": "isic"}
_METRICS = ("acc", "auc", "precision", "recall", "f1", "ece", "aece", "sce", "ce", "brierloss")
_SSA_VOTES = "Number of Annotators who Selected SSA (Out of 7)"

_UNREADABLE = (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile)
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A file that could not be used; `path` is relative to the folder."""

    path: str
    kind: Literal["missing", "damaged"]
    message: str


@dataclass(frozen=True)
class Published:
    """The test predictions of one run on MHIST, in the order of MHIST/test_labels.csv.

    `logits` and `probabilities` are (N, 2) float32, `labels` (N,) int64: 0 is HP, 1 is SSA.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]


class Artifacts:
    """The published artefacts in a folder: a clone of the authors' repository, or a part of one.

    Every reader returns None where its file is missing or damaged, and notes it in `problems`,
    each file once. What is read is kept: do not change it in place.

    Parameters
    ----------
    folder : Path
        Where d1_chaoyang_code, d2_mhist_code, d2_ablation and the others lie.

    Raises
    ------
    InputError
        No folder, or none of the authors' files is in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(
                f"{folder}: expected a folder, a clone of github.com/abhisheksambyal/lsplus"
            )
        if not any((folder / path).is_file() for path in _all_paths()):
            raise InputError(
                f"{folder}: expected a clone of github.com/abhisheksambyal/lsplus, or a part of "
                "one with files such as d2_mhist_code/resnet34/metrics.csv; none of them is there"
            )
        self.folder = folder
        self.problems: list[Problem] = []
        self._made: dict[str, Any] = {}

    def run_metrics(self, dataset: str, backbone: str) -> pd.DataFrame | None:
        """Metrics of the 18 runs on validation (V*) and test (T*), as fractions.

        Returns
        -------
        DataFrame or None
            Columns method, run (1 to 3), and the file's own: Vacc ... VaccK0 ..., Tacc ... TaccK0
            ...
        """
        columns = _metric_columns(dataset)
        return self._read(_metrics_path(dataset, backbone), lambda file: _metrics(file, columns))

    def temperature_metrics(self, dataset: str, backbone: str) -> pd.DataFrame | None:
        """The same after temperature scaling, with the Temperature; not made for ISIC-2018."""
        columns = [*_metric_columns(dataset), "Temperature"]
        return self._read(
            _temperature_path(dataset, backbone), lambda file: _metrics(file, columns)
        )

    def ece_kde_metrics(self, backbone: str) -> pd.DataFrame | None:
        """Tacc and Tecekde of the 18 runs on MHIST, with columns method and run."""
        return self._read(_ece_kde_path(backbone), lambda file: _metrics(file, ["Tacc", "Tecekde"]))

    def predictions(self, backbone: str, method: str, run: int) -> Published | None:
        """The test predictions of one run on MHIST."""
        logits, probabilities, labels = (
            self._read(_predictions_path(backbone, method, run, what), _matrix)
            for what in ("logits", "probabilities", "testlabels")
        )
        if logits is None or probabilities is None or labels is None:
            return None
        # To check with: without the list there are still the predictions.
        there = (self.folder / _TEST_LABELS).is_file()
        listed = self._read(_TEST_LABELS, _test_labels) if there else None
        return self._make(
            f"predictions {backbone} {method} {run}",
            _predictions_path(backbone, method, run, "probabilities"),
            lambda: _published(logits, probabilities, labels, listed),
        )

    def retention_curve(
        self, dataset: str, backbone: str, method: str
    ) -> NDArray[np.float64] | None:
        """The 200 accuracies of run 1's published retention curve."""
        return self._read(_curve_path(dataset, backbone, method), _curve)

    def confidences(
        self, dataset: str, backbone: str, method: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The confidences of run 1 on the correctly and on the wrongly classified test images."""
        path, other = (
            _confidences_path(dataset, backbone, method, what) for what in ("correct", "incorrect")
        )
        correct, incorrect = self._read(path, _fractions), self._read(other, _fractions)
        if correct is None or incorrect is None:
            return None
        return self._make(
            f"confidences {dataset} {backbone} {method}",
            path,
            lambda: _confidences(correct, incorrect, dataset),
        )

    def votes(self) -> NDArray[np.int64] | None:
        """The votes of 7 annotators for HP and SSA, (977, 2), in the order of predictions.

        annotations.csv comes with MHIST itself; a clone of the authors' repository lacks it.
        """
        labels = self._read(_TEST_LABELS, _test_labels)
        annotations = self._read(_ANNOTATIONS, _annotations)
        if labels is None or annotations is None:
            return None
        return self._make("votes", _ANNOTATIONS, lambda: _votes(labels, annotations))

    def training_script(self, dataset: str) -> str | None:
        """The text of the script that trained LS and LS+, which holds the constants of V^acc."""
        return self._read(script_path(dataset), lambda file: file.read_text(encoding="utf-8"))

    def _read(self, path: str, reader: Callable[[Path], T]) -> T | None:
        if path not in self._made and not (self.folder / path).is_file():
            self._made[path] = None
            self.problems.append(Problem(path, "missing", "not in the folder"))
        return self._make(path, path, lambda: reader(self.folder / path))

    def _make(self, key: str, path: str, make: Callable[[], T]) -> T | None:
        """What `make` gives, kept under `key`; where it fails, the file at `path` is damaged."""
        if key not in self._made:
            try:
                self._made[key] = make()
            except _UNREADABLE as error:
                self._made[key] = None
                self.problems.append(Problem(path, "damaged", one_line(error)))
        return self._made[key]


def script_path(dataset: str) -> str:
    return f"{_CODE[dataset]}/distiller.py"


def has_temperature(dataset: str) -> bool:
    """The authors scaled temperatures on Chaoyang and MHIST alone."""
    return dataset in _TEMPERATURE


def _metrics_path(dataset: str, backbone: str) -> str:
    return f"{_CODE[dataset]}/{backbone}/metrics.csv"


def _temperature_path(dataset: str, backbone: str) -> str:
    return f"{_TEMPERATURE[dataset]}/{backbone}/metrics.csv"


def _ece_kde_path(backbone: str) -> str:
    return f"{_ECE_KDE}/{backbone}/metrics_ecekde.csv"


def _predictions_path(backbone: str, method: str, run: int, what: str) -> str:
    return f"{_ECE_KDE}/{backbone}/{run}/numpy_files/test_{what}_{_NAMES[method].lower()}.npy"


def _curve_path(dataset: str, backbone: str, method: str) -> str:
    name = f"{backbone.capitalize()}_{_CURVES[method]}.txt"
    return f"{_CODE[dataset]}/retention_curve_files/{name}"


def _confidences_path(dataset: str, backbone: str, method: str, what: str) -> str:
    name = f"{_HISTOGRAMS[dataset]}_{backbone.capitalize()}_{_NAMES[method]}_{what}.txt"
    return f"{_CODE[dataset]}/histogram_plots/{name}"


def _all_paths() -> Iterator[str]:
    """Every file that can be asked for."""
    yield from (_TEST_LABELS, _ANNOTATIONS)
    yield from (script_path(dataset) for dataset in DATASETS)
    yield from (_ece_kde_path(backbone) for backbone in BACKBONES)
    for dataset, backbone in product(DATASETS, BACKBONES):
        yield _metrics_path(dataset, backbone)
        if has_temperature(dataset):
            yield _temperature_path(dataset, backbone)
        for method in METHODS:
            yield _curve_path(dataset, backbone, method)
            yield _confidences_path(dataset, backbone, method, "correct")
            yield _confidences_path(dataset, backbone, method, "incorrect")
    for backbone, method, run in product(BACKBONES, METHODS, RUNS):
        for what in ("logits", "probabilities", "testlabels"):
            yield _predictions_path(backbone, method, run, what)


def _metric_columns(dataset: str) -> list[str]:
    names = [*_METRICS, *(f"accK{k}" for k in range(NUM_CLASSES[dataset]))]
    return [split + name for split in "VT" for name in names]


def _table(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    with warnings.catch_warnings():
        # Lines longer than the header, which pandas would cut off.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(file, index_col=False)
        except pd.errors.ParserWarning as error:
            raise ValueError("expected as many names as columns; received fewer") from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise ValueError(f"expected the columns {', '.join(columns)}; lacks {', '.join(lacking)}")
    return table


def _metrics(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = _table(file, ["Name", *columns])
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if wrong.size:
            raise ValueError(
                f"column {column}: expected numbers; received {table[column][wrong[0]]} in line "
                f"{wrong[0] + 2}"
            )
        table[column] = numbers
    method_of = {name: method for method, name in _NAMES.items()}
    methods = table["Name"].astype(str).str.upper().map(method_of)
    counts = methods.value_counts()
    if len(table) != len(METHODS) * len(RUNS) or not all(
        counts.get(method) == len(RUNS) for method in METHODS
    ):
        raise ValueError(
            f"column Name: expected {len(RUNS)} rows of each of {', '.join(_NAMES.values())}; "
            f"received {len(table)} rows: {', '.join(map(str, table['Name'].unique()))}"
        )
    runs = methods.groupby(methods).cumcount() + 1
    return table[list(columns)].assign(method=methods, run=runs)[["method", "run", *columns]]


def _matrix(file: Path) -> NDArray[np.float32]:
    array = np.load(file, allow_pickle=False)
    expected = (TEST_SIZE["mhist"], NUM_CLASSES["mhist"])
    if not isinstance(array, np.ndarray) or array.shape != expected or array.dtype.kind != "f":
        what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"expected an array of floats {expected}; received {what}")
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers; received NaN or infinity")
    return array.astype(np.float32)


def _published(
    logits: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.float32],
    listed: pd.DataFrame | None,
) -> Published:
    difference = np.abs(softmax(logits) - probabilities).max()
    if difference > 1e-5:
        raise ValueError(
            f"expected the softmax of the logits beside it; received others by {difference:.2g}"
        )
    if not np.array_equal(np.sort(labels, axis=1), np.tile([0.0, 1.0], (len(labels), 1))):
        raise ValueError("expected labels beside it in one-hot form; received others")
    classes = labels.argmax(axis=1)
    if listed is not None and not np.array_equal(classes == 1, listed["label"] == "SSA"):
        raise ValueError(f"expected labels beside it as in {_TEST_LABELS}; received others")
    return Published(logits, probabilities, classes)


def _fractions(file: Path) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        values = np.loadtxt(file, dtype=np.float64, ndmin=1)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"expected one number a line; received an array {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("expected numbers from 0 to 1; received others")
    return values


def _curve(file: Path) -> NDArray[np.float64]:
    values = _fractions(file)
    if len(values) != CURVE_POINTS:
        raise ValueError(f"expected {CURVE_POINTS} numbers; received {len(values)}")
    return values


def _confidences(
    correct: NDArray[np.float64], incorrect: NDArray[np.float64], dataset: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    size, chance = TEST_SIZE[dataset], 1 / NUM_CLASSES[dataset]
    smallest = min(correct.min(), incorrect.min())
    if smallest < chance - 1e-5:
        raise ValueError(f"expected largest probabilities, {chance:.3f} to 1; received {smallest}")
    if len(correct) + len(incorrect) != size:
        raise ValueError(
            f"expected {size} test images, correct and incorrect together; received "
            f"{len(correct)} and {len(incorrect)}"
        )
    return correct, incorrect


def _test_labels(file: Path) -> pd.DataFrame:
    table = _table(file, ["path", "label"])
    if len(table) != TEST_SIZE["mhist"]:
        raise ValueError(f"expected {TEST_SIZE['mhist']} rows; received {len(table)}")
    return table


def _annotations(file: Path) -> pd.DataFrame:
    table = _table(file, ["Image Name", _SSA_VOTES])
    votes = pd.to_numeric(table[_SSA_VOTES], errors="coerce")
    wrong = np.flatnonzero(~votes.isin(range(ANNOTATORS + 1)))
    if wrong.size:
        raise ValueError(
            f"column {_SSA_VOTES}: expected whole numbers from 0 to {ANNOTATORS}; received "
            f"{table[_SSA_VOTES][wrong[0]]} in line {wrong[0] + 2}"
        )
    return table.assign(**{_SSA_VOTES: votes.astype(np.int64)})


def _votes(labels: pd.DataFrame, annotations: pd.DataFrame) -> NDArray[np.int64]:
    """Joined by file name: the paths in test_labels.csv are relative to the scripts."""
    names = labels["path"].str.rsplit("/", n=1).str[-1]
    if annotations["Image Name"].duplicated().any():
        raise ValueError("column Image Name: expected every image once; received one twice")
    votes = annotations.set_index("Image Name")[_SSA_VOTES].reindex(names)
    if votes.isna().any():
        raise ValueError(f"expected every image of {_TEST_LABELS}; lacks {votes.isna().idxmax()}")
    ssa = votes.to_numpy(dtype=np.int64)
    if not np.array_equal(ssa > ANNOTATORS / 2, labels["label"] == "SSA"):
        raise ValueError(f"expected the majority to give the labels of {_TEST_LABELS}; it does not")
    return np.column_stack([ANNOTATORS - ssa, ssa])
