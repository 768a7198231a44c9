"""How an experiment goes, on the terminal: run i of n, the epoch, and the time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lsplus_tf.datasets import ImageDataset
from lsplus_tf.experiments.plan import Run


class TerminalProgress:
    """A progress bar over all epochs of the missing runs, and a line for every finished run.

    Use it as a context manager and as the `observer` of `run_experiment`. Without a terminal only
    the lines are printed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, visible=False)
        self._epochs = self._number = self._count = 0
        self._made_before = 0  # epochs that another process made, which tell nothing of the speed
        self._last = ""

    def __enter__(self) -> TerminalProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        if kind is KeyboardInterrupt:
            self._console.print("Stopped. The same command makes the runs that are not finished.")

    def planned(self, missing: list[Run], finished: list[Run], epochs: int) -> None:
        self._epochs, self._count = epochs, len(missing)
        self._console.print(
            f"{len(missing)} runs to make, {len(finished)} already finished.", highlight=False
        )
        self._progress.update(self._task, total=len(missing) * epochs, visible=bool(missing))

    def data_loaded(self, dataset: ImageDataset) -> None:
        sizes = ", ".join(f"{len(split)} {part}" for part, split in dataset.splits())
        height, width, channels = dataset.image_shape
        self._console.print(
            f"{dataset.name}: {sizes} images of {height}x{width}x{channels}, "
            f"{dataset.num_classes} classes.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def run_started(self, run: Run) -> None:
        self._number += 1
        self._describe(run, 0)

    def run_resumed(self, run: Run, epochs: int, logs: dict[str, float]) -> None:
        self._console.print(
            f"run {self._number} of {self._count}: {run.method}, seed {run.seed} goes on after "
            f"{epochs} of {self._epochs} epochs",
            highlight=False,
            soft_wrap=True,
        )
        if logs:
            self._note(logs)
        self._made_before += epochs
        self._progress.update(self._task, total=self._count * self._epochs - self._made_before)
        self._describe(run, epochs)

    def epoch_ended(self, run: Run, epoch: int, logs: dict[str, float]) -> None:
        self._note(logs)
        self._describe(run, epoch + 1)
        self._show_completed((self._number - 1) * self._epochs + epoch + 1)

    def run_finished(self, run: Run) -> None:
        self._show_completed(self._number * self._epochs)
        self._console.print(
            f"run {self._number} of {self._count}: {run.method}, seed {run.seed} finished, "
            f"{self._last} in its last epoch",
            highlight=False,
            soft_wrap=True,
        )

    def _note(self, logs: dict[str, float]) -> None:
        self._last = f"validation accuracy {logs['val_accuracy']:.4f}"

    def _show_completed(self, epochs: int) -> None:
        self._progress.update(self._task, completed=epochs - self._made_before)

    def _describe(self, run: Run, epoch: int) -> None:
        self._progress.update(
            self._task,
            description=f"run {self._number} of {self._count}: {run.method}, seed {run.seed}, "
            f"epoch {epoch}/{self._epochs}",
        )
