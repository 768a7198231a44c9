"""Make the runs of an experiment that are not there yet."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lsplus_tf import config, files
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.engines import Engine, InThisProcess
from lsplus_tf.experiments.folder import check_folder, find_damaged, set_aside, take_folder
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Shard, plan_runs
from lsplus_tf.experiments.schedule import Schedule
from lsplus_tf.training import run_folder
from lsplus_tf.training.several_hosts import hosts


def run_experiment(
    experiment: config.Experiment,
    out: str | Path,
    *,
    observer: Observer | None = None,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    shard: Shard | None = None,
    engine: Engine | None = None,
    retries: int = 0,
) -> None:
    """Train what is missing in `out`; finished runs of the same settings are kept.

    A finished run with a damaged file, see :mod:`lsplus_tf.manifest`, is set aside and made anew. A
    run that was interrupted goes on from its last epoch. Several processes may work in one
    folder, on one machine or on several that share it: each makes runs that no other is making,
    and ends when all of its runs are finished, by whichever.

    Parameters
    ----------
    experiment : Experiment
        The config.
    out : str or Path
        The experiment's folder, made if needed.
    observer : Observer, optional
        Is told of runs and epochs, such as `lsplus_tf.cli.progress.TerminalProgress`.
    methods, seeds, shard
        As in `plan_runs`: they narrow the runs.
    engine : Engine, optional
        Where the runs are made; None makes one after the other in this process.
    retries : int
        How often a run that failed is begun again, from where it was saved.

    Raises
    ------
    InputError
        `out` holds something else or a run with other settings, or cannot be written; another
        process is at work there on another experiment; data that cannot be used; or an engine is
        given on one of several hosts.
    FailedRunsError
        Some runs could not be made; all others are.
    RefusedRunsError
        It is both errors: no run could be made, for an `InputError` of each.

    Examples
    --------
    >>> import tempfile
    >>> from lsplus_tf.config import load_config
    >>> from lsplus_tf.results import gather
    >>> changes = ["protocol.epochs=1", "dataset.samples_per_class=8", "backbone.width=0.125"]
    >>> experiment, out = load_config("digits", changes), Path(tempfile.mkdtemp())
    >>> run_experiment(experiment, out, methods=["hard_labels"], seeds=[0])
    >>> gather(out).metrics()[["method", "seed"]].values.tolist()
    [['hard_labels', 0]]
    """
    if hosts().count > 1 and engine is not None:
        raise InputError(
            "TF_CONFIG: the hosts make one run after the other together, without --executor ray or "
            "--workers"
        )
    out, observer = files.expanded(out), observer or Observer()
    runs = plan_runs(experiment, methods, seeds, shard)
    check_folder(experiment, out, runs)
    damaged = find_damaged(experiment, out, runs)
    missing = [run for run in runs if run in damaged or not run.folder(out).is_dir()]
    finished = [run for run in runs if run not in missing]
    observer.planned(missing, finished, experiment.protocol.epochs)
    for run in finished:
        run_folder.discard_training(run.folder(out))  # of a process that died just before it did
    if not missing:
        with take_folder(experiment, out, runs):
            return
    with (
        (engine or InThisProcess()).begin(experiment, out, observer) as pool,
        take_folder(experiment, out, runs),
    ):
        # Not before all is there that making them anew takes.
        for run, damage in damaged.items():
            if (aside := set_aside(out, run)) is not None:
                observer.run_set_aside(run, aside, damage)
        if hosts().is_chief:
            for run in missing:
                files.make_way(run.folder(out), folder=True)
        Schedule(experiment, out, missing, pool, observer, retries).make_all()
