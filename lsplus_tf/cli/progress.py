"""How an experiment goes, on the terminal: run i of n, the epoch, and the time left."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from lsplus_tf.datasets import ImageDataset
from lsplus_tf.errors import counted
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run

LINE_EVERY = 60.0  # seconds, where there is no terminal to draw a bar on


def describe_data(dataset: ImageDataset) -> str:
    """How many images of which shape, classes, groups and wrong labels, on one line."""
    sizes = ", ".join(f"{len(split)} {part}" for part, split in dataset.splits())
    height, width, channels = dataset.image_shape
    groups = ", ".join(
        f"{len(set(split.groups.tolist()))} {part}"
        for part, split in dataset.splits()
        if split.groups is not None
    )
    noise = ", ".join(
        f"{split.changed_labels} of {len(split)} {part} labels"
        for part, split in dataset.splits()
        if split.changed_labels is not None
    )
    return (
        f"{dataset.name}: {sizes} images of {height}x{width}x{channels}, "
        f"{dataset.num_classes} classes."
        + (f" Groups: {groups}." if groups else "")
        + (f" Label noise: {noise} changed." if noise else "")
    )


class TerminalProgress(Observer):
    """A progress bar over all epochs of the missing runs, and a line for every finished run.

    Use it as a context manager and as the `observer` of `run_experiment`. Without a terminal, as
    in a job's log, the bar is a line each minute.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            # On a narrow terminal the words and numbers are worth more than the bar.
            TextColumn(
                "{task.description}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            *([BarColumn(bar_width=16), TimeElapsedColumn()] if console.width >= 100 else []),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, visible=False)
        self._epochs = 0
        self._numbers: dict[Run, int] = {}  # of the missing runs, from 1
        self._done: dict[Run, int] = {}  # epochs
        self._made_before: dict[Run, int] = {}  # by other processes: no measure of the speed
        self._under_way: dict[Run, None] = {}
        self._next_line = monotonic()

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
        self._epochs = epochs
        self._numbers = {run: i + 1 for i, run in enumerate(missing)}
        self._console.print(
            f"{counted(len(missing), 'run')} to make, {len(finished)} already finished.",
            highlight=False,
        )
        self._progress.update(self._task, visible=bool(missing))
        self._show()

    def run_set_aside(self, run: Run, aside: Path, damage: dict[str, str]) -> None:
        name, why = next(iter(damage.items()))
        more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
        self._console.print(
            f"{run} is damaged ({name}: {why}{more}) and is made anew; what is left of it is in "
            f"{aside}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def weights_downloaded(self, what: str) -> None:
        self._console.print(what, highlight=False, markup=False, soft_wrap=True)

    def data_loaded(self, dataset: ImageDataset) -> None:
        self._console.print(describe_data(dataset), highlight=False, markup=False, soft_wrap=True)

    def run_started(self, run: Run) -> None:
        self._under_way[run] = None
        self._done[run] = 0
        self._show()

    def run_resumed(self, run: Run, epochs: int, logs: dict[str, float]) -> None:
        self._tell(run, f"goes on after {epochs} of {self._epochs} epochs")
        self._made_before.setdefault(run, epochs)
        self._done[run] = epochs
        self._show()

    def epoch_ended(self, run: Run, epoch: int, logs: dict[str, float]) -> None:
        self._made_before.setdefault(run, 0)
        self._done[run] = epoch + 1
        self._show()

    def run_finished(self, run: Run, accuracy: float) -> None:
        self._under_way.pop(run, None)
        by_another = "" if run in self._done else " by another process"
        self._tell(run, f"finished{by_another}, validation accuracy {accuracy:.4f}")
        if by_another:
            self._made_before[run] = self._epochs
        self._done[run] = self._epochs
        self._show()

    def run_failed(self, run: Run, error: str, trace: str, again: bool) -> None:
        self._under_way.pop(run, None)
        if trace:
            self._console.print(trace, highlight=False, markup=False, soft_wrap=True, style="dim")
        self._tell(run, f"failed: {error}{'; it is begun again' if again else ''}")
        self._show()

    def run_waited_for(self, run: Run) -> None:
        self._tell(run, "is being made by another process, and waited for")

    def _tell(self, run: Run, what: str) -> None:
        self._console.print(
            f"run {self._numbers[run]} of {len(self._numbers)}: {run.method}, seed {run.seed} "
            f"{what}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _show(self) -> None:
        made_before = sum(self._made_before.values())
        runs, count = list(self._under_way), len(self._numbers)
        if len(runs) == 1:
            (run,) = runs
            shown = f"run {self._numbers[run]} of {count}: {run.method}, seed {run.seed}, epoch "
            shown += f"{self._done[run]}/{self._epochs}"
        else:
            finished = sum(done == self._epochs for done in self._done.values())
            shown = f"{finished} of {count} runs finished, {len(runs)} under way"
        self._progress.update(
            self._task,
            description=shown,
            total=count * self._epochs - made_before,
            completed=sum(self._done.values()) - made_before,
        )
        if not self._console.is_terminal and self._under_way and monotonic() >= self._next_line:
            self._next_line = monotonic() + LINE_EVERY
            self._console.print(shown, highlight=False, markup=False, soft_wrap=True)
