"""Collect what the finished runs of an experiment left."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lsplus_tf import files, metrics
from lsplus_tf.calibrators import CALIBRATORS, Calibrator, LabelShift
from lsplus_tf.config import Experiment
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.folder import check_run, read_experiment
from lsplus_tf.experiments.plan import Run, plan_runs
from lsplus_tf.manifest import read_manifest
from lsplus_tf.predictions import Predictions
from lsplus_tf.training import run_folder

Made = TypeVar("Made")


@dataclass(frozen=True)
class Row:
    """What the table has a line for: a method, the ensemble of its runs, or either calibrated.

    Attributes
    ----------
    key : str
        In CSV files: METHOD, METHOD_ensemble, METHOD+CALIBRATOR, METHOD_ensemble+CALIBRATOR, or
        METHOD+CALIBRATOR_ensemble, whose members are calibrated.
    name : str
        In tables and figures.
    method : str
        Its name in the config.
    seeds : tuple of int
        Of its runs.
    ensemble : bool
        Whether the runs' mean probabilities are the prediction, and not each run's.
    calibrators : tuple of Calibrator
        One for each prediction, or each member of an ensemble, fitted to its validation split; none
        where it is as it came from the network.
    by_member : bool
        Whether an ensemble's calibrators are its members', before the mean.

    Examples
    --------
    `Results.rows` makes them. The ensemble of two runs of LS+ is this:

    >>> row = Row("ls_plus_ensemble", "LS+ ensemble", "ls_plus", (0, 1), ensemble=True)
    >>> row.name, len(row.seeds)
    ('LS+ ensemble', 2)
    """

    key: str
    name: str
    method: str
    seeds: tuple[int, ...]
    ensemble: bool = False
    calibrators: tuple[Calibrator, ...] = ()
    by_member: bool = False


@dataclass(frozen=True)
class Results:
    """An experiment and its finished runs, of which each file is read once.

    Attributes
    ----------
    experiment : Experiment
        The config.
    folder : pathlib.Path
        Where the runs lie.
    runs : tuple of Run
        The finished ones, in the config's order of methods and seeds.
    missing : tuple of Run
        Runs of the config that are not finished.
    title : str
        What tables and pages call the experiment.

    Examples
    --------
    `gather` makes it of a folder. Here of runs that are taken to be finished:

    >>> from lsplus_tf.config import load_config
    >>> experiment = load_config("digits")
    >>> first, *others = plan_runs(experiment)
    >>> results = Results(experiment, Path("runs/digits"), (first,), tuple(others))
    >>> results.methods, len(results.missing) == len(others)
    (['hard_labels'], True)
    """

    experiment: Experiment
    folder: Path
    runs: tuple[Run, ...]
    missing: tuple[Run, ...]
    title: str = ""
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def methods(self) -> list[str]:
        """Methods with at least one finished run, in the config's order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the probabilities."""
        return list(self.summary(self.runs[0])["class_names"])

    @property
    def positive(self) -> tuple[str | tuple[str, ...], ...]:
        """The classes that matter most: the config's, or those of a data set known by name."""
        if self.experiment.positive is not None:
            return self.experiment.positive
        known = RECORDS.get(self.experiment.dataset.name)
        of_record = () if known is None else known.positive
        # Files of that name may have other classes.
        there = set(self.class_names)
        return tuple(
            each
            for each in of_record
            if {each} <= there or (not isinstance(each, str) and set(each) <= there)
        )

    @property
    def one_seed(self) -> bool:
        """Whether no method has several finished runs, of which there were a mean and an SD."""
        return len(self.methods) == len(self.runs)

    @property
    def rows(self) -> list[Row]:
        """The methods, then the ensembles of at least two runs, each followed by its calibrations.

        Warns
        -----
        UserWarning
            What a calibrator said when it was fitted, or that one could not be, and has no row.
        """
        return self._once("rows", self._all_rows)

    def of_method(self, method: str) -> list[Run]:
        """The finished runs of a method."""
        return [run for run in self.runs if run.method == method]

    def doubts(self) -> list[str]:
        """What the runs were made with that a reader has to know, a sentence each.

        Wrong labels on purpose, images that were left out, runs without a manifest, and class
        accuracies that make a doubtful prior.
        """
        noise = self.experiment.dataset.label_noise
        wrong = (
            []
            if noise is None
            else [f"Labels are wrong on purpose: {noise.in_words}; those of the test split are not"]
        )
        left_out: dict[str, None] = {}  # the same images of most runs
        priors, unmarked = [], 0
        for run in self.runs:
            folder = run.folder(self.folder)
            unmarked += read_manifest(folder) is None
            skipped = self.summary(run)["skipped_images"]
            if skipped:
                named = f"{', '.join(skipped[:3])}{' ...' if len(skipped) > 3 else ''}"
                left_out[f"{len(skipped)} images were left out: {named}"] = None
            if run_folder.has(folder, run_folder.PRIOR):
                doubts = run_folder.read_json(folder, run_folder.PRIOR).get("doubts")
                if doubts:
                    priors.append(f"The prior of {run} is doubtful: {'; '.join(doubts)}")
        if unmarked:
            runs = f"{unmarked} run is" if unmarked == 1 else f"{unmarked} runs are"
            left_out[
                f"{runs} of format version 0, whose files carry no SHA-256: nothing tells whether "
                "they are what was written"
            ] = None
        return [*wrong, *left_out, *priors]

    def summary(self, run: Run) -> dict[str, Any]:
        """What a run says of its training."""
        return self._once(
            ("summary", run),
            lambda: run_folder.read_summary(run.folder(self.folder)),
        )

    def history(self, run: Run) -> pd.DataFrame:
        """Losses and metrics of a run by epoch, counted from 0: a row an epoch."""
        return self._once(
            ("history", run),
            lambda: run_folder.read_history(run.folder(self.folder)).set_index("epoch"),
        )

    def saved(self, run: Run, split: str) -> Predictions:
        """What a run saved of "validation" or "test", which is of the same images in all runs."""
        return self._once((run, split), lambda: self._saved(run, split))

    def predictions(self, row: Row, split: str = "test") -> list[Predictions]:
        """Those of a split: one for each run, or one of an ensemble, calibrated if the row is.

        Source of the ensemble: Lakshminarayanan et al., NeurIPS 2017. It is calibrated as a whole
        unless the config asks for its members: the mean of calibrated members that disagree is
        underconfident (Rahaman and Thiery, NeurIPS 2021).
        """
        return self._once((row.key, split), lambda: self._predictions(row, split))

    def measured(self, row: Row, split: str = "test") -> list[dict[str, float]]:
        """The metrics of each of a row's predictions, as fractions: `lsplus_tf.evaluate`."""
        return self._once(
            ("measured", row.key, split),
            lambda: [metrics.evaluate(each) for each in self.predictions(row, split)],
        )

    def metrics(self, split: str = "test") -> pd.DataFrame:
        """One row a run: method, seed, and the metrics as fractions.

        Of the test split also of each run calibrated, with method METHOD+CALIBRATOR; validation
        is what calibrators are fitted to.
        """
        return pd.DataFrame(
            [
                {"method": row.key, "seed": seed, **values}
                for row in self.rows
                if not row.ensemble and (split == "test" or not row.calibrators)
                for seed, values in zip(row.seeds, self.measured(row, split), strict=True)
            ]
        )

    def _saved(self, run: Run, split: str) -> Predictions:
        found = run_folder.read_predictions(run.folder(self.folder), split)
        first = self.runs[0]
        if run != first:
            expected = self.saved(first, split)
            if not np.array_equal(found.labels, expected.labels):
                raise InputError(
                    f"{run.folder(self.folder)}: expected {split} predictions of the "
                    f"{len(expected)} images of {first}, received {len(found)} with other labels; "
                    "move the run away, and give the command that made it again"
                )
        return found

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _predictions(self, row: Row, split: str) -> list[Predictions]:
        found = [self.saved(Run(row.method, seed), split) for seed in row.seeds]
        if row.by_member:
            found = _calibrated(row.calibrators, found)
        if row.ensemble:
            mean = np.mean([each.probabilities for each in found], axis=0)
            found = [found[0].computed("probabilities", mean)]
        if row.calibrators and not row.by_member:
            found = _calibrated(row.calibrators, found)
        return found

    def _all_rows(self) -> list[Row]:
        titles = self.experiment.titles
        seeds = {m: tuple(run.seed for run in self.of_method(m)) for m in self.methods}
        plain = [Row(m, titles[m], m, seeds[m]) for m in self.methods] + [
            Row(f"{m}_ensemble", f"{titles[m]} ensemble", m, seeds[m], ensemble=True)
            for m in self.experiment.ensembles
            if len(seeds.get(m, ())) > 1
        ]
        rows: dict[str, Row] = {}
        failures = defaultdict(list)
        for row in plain:
            rows[row.key] = row
            ways = self.experiment.ensemble_calibration if row.ensemble else ("whole",)
            for name, way in itertools.product(self.experiment.calibrators, ways):
                try:
                    if way == "members":
                        made = self._of_calibrated(row, name, rows)
                    else:
                        made = self._calibrated(row, name)
                except InputError as error:
                    failures[name, str(error)].append(row.name)
                else:
                    rows[made.key] = made
        for (name, why), left_out in failures.items():
            warnings.warn(
                f"calibrators: {name} cannot be fitted to the validation split, and is left out "
                f"of {', '.join(dict.fromkeys(left_out))}: {why}",
                stacklevel=4,
            )
        return [*rows.values()]

    def _of_calibrated(self, row: Row, name: str, rows: dict[str, Row]) -> Row:
        """The ensemble of a method's calibrated runs, whose calibrators are fitted already.

        Or they could not be, and the same error says so again.
        """
        key = f"{row.method}+{name}"
        members = rows[key] if key in rows else self._calibrated(rows[row.method], name)
        return replace(
            members,
            key=f"{key}_ensemble",
            name=f"({members.name}) ensemble",
            ensemble=True,
            by_member=True,
        )

    def _calibrated(self, row: Row, name: str) -> Row:
        """The row with a calibrator for each of its predictions, fitted to validation alone.

        Label shift is then adapted to the prevalence that the test split's predictions have,
        without its labels, as the table says.
        """
        title = f"{row.name} + {name.replace('_', ' ')}"
        fitted: list[Calibrator] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for held_out, judged in zip(
                self.predictions(row, "validation"), self.predictions(row), strict=True
            ):
                calibrator = CALIBRATORS[name]().fit(held_out)
                if isinstance(calibrator, LabelShift):
                    calibrator = calibrator.adapt(judged)
                fitted.append(calibrator)
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            warnings.warn(f"{title}: {message}", stacklevel=5)
        return replace(row, key=f"{row.key}+{name}", name=title, calibrators=tuple(fitted))


def _calibrated(
    calibrators: Sequence[Calibrator], predictions: Sequence[Predictions]
) -> list[Predictions]:
    pairs = zip(calibrators, predictions, strict=True)
    return [calibrator.calibrate(each) for calibrator, each in pairs]


def gather(
    folder: str | Path,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    *,
    experiment: Experiment | None = None,
    title: str = "",
) -> Results:
    """The results that lie in an experiment's folder.

    Parameters
    ----------
    folder : str or pathlib.Path
        Of `run_experiment`.
    methods, seeds : collection, optional
        Narrow the runs, as in `plan_runs`; None takes all, and of the optional methods those that
        have a finished run.
    experiment : Experiment, optional
        The config, if not the folder's own; of a grid it is the grid's.
    title : str
        What tables and pages call it, if not by its name.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        Not the folder of an experiment, no finished run in it, or one that was made with other
        settings.

    Examples
    --------
    The example of `run_experiment` gathers what it trained.

    >>> gather(Path("nowhere"))
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: nowhere: not the folder of an experiment, it has no
    experiment.yaml
    """
    folder = files.expanded(folder, "folder")
    if experiment is None:
        experiment = read_experiment(folder)
    if methods is None:
        methods = [
            method
            for method in experiment.methods
            if method in experiment.usual_methods or any((folder / method).glob("seed_*"))
        ]
    planned = set(plan_runs(experiment, methods, seeds))
    wanted = [
        Run(method, seed)
        for method in experiment.methods
        for seed in experiment.seeds
        if Run(method, seed) in planned
    ]
    runs = tuple(run for run in wanted if run.folder(folder).is_dir())
    if not runs:
        raise InputError(f"{folder}: no finished run yet")
    for run in runs:
        check_run(experiment, folder, run)
    finished = set(runs)
    missing = tuple(run for run in wanted if run not in finished)
    return Results(experiment, folder, runs, missing, title or experiment.name)
