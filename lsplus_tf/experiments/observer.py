"""Who is told how an experiment goes."""

from __future__ import annotations

from pathlib import Path

from lsplus_tf.datasets import ImageDataset
from lsplus_tf.experiments.plan import Run


class Observer:
    """Is told how an experiment goes, and does nothing; subclasses show what they choose to.

    Examples
    --------
    >>> from lsplus_tf.experiments import Observer, Run
    >>> class Names(Observer):
    ...     def run_finished(self, run, accuracy):
    ...         print("finished:", run, accuracy)
    >>> Names().run_finished(Run("ls_plus", 0), 0.75)
    finished: ls_plus seed 0 0.75
    """

    def planned(self, missing: list[Run], finished: list[Run], epochs: int) -> None:
        """What is to be made, what is there already, and the epochs of each run."""

    def run_set_aside(self, run: Run, aside: Path, damage: dict[str, str]) -> None:
        """A finished run is damaged: where its folder is now, and what is wrong, by file."""

    def weights_downloaded(self, what: str) -> None:
        """Pretrained weights are downloaded now; a sentence says which, and from where."""

    def data_loaded(self, dataset: ImageDataset) -> None:
        """The images, before the first run begins; those in files need not be decoded."""

    def run_started(self, run: Run) -> None:
        """A run begins, or begins again after it failed."""

    def run_resumed(self, run: Run, epochs: int, logs: dict[str, float]) -> None:
        """A run goes on after so many epochs; the logs are those of the last of them, if any."""

    def epoch_ended(self, run: Run, epoch: int, logs: dict[str, float]) -> None:
        """An epoch, counted from 0, has ended and is saved."""

    def run_finished(self, run: Run, accuracy: float) -> None:
        """A run is in its folder, whoever made it: validation accuracy of the weights it keeps."""

    def run_failed(self, run: Run, error: str, trace: str, again: bool) -> None:
        """Why, on one line; where in the code, if no user's mistake; whether it is retried."""

    def run_waited_for(self, run: Run) -> None:
        """Another process is making a run; told once for each."""
