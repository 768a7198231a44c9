"""What `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from lsplus_tf.cli.console import terminal
from lsplus_tf.cli.options import check_command

if TYPE_CHECKING:
    from lsplus_tf.config import Experiment, Grid
    from lsplus_tf.experiments.forecasting import Forecast, Planned, Size
    from lsplus_tf.experiments.plan import Shard


def show_forecast(
    experiment: Experiment,
    out: Path,
    methods: Collection[str] | None,
    seeds: Collection[int] | None,
    shard: Shard | None,
    at_once: int,
) -> Forecast:
    """Print what the runs of an experiment will take, beside what there is."""
    from lsplus_tf.cli.progress import describe_data
    from lsplus_tf.datasets.image_files import ImageFiles
    from lsplus_tf.experiments import forecasting

    found = forecasting.forecast(experiment, out, methods, seeds, shard, at_once)
    console = terminal()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(describe_data(found.dataset))
    if experiment.dataset.drop or experiment.dataset.unreadable == "skip":
        say("Counted before images that cannot be used are left out, which decodes them.")
    elif isinstance(found.dataset.train.images, ImageFiles):
        say(
            f"The images were not decoded: {check_command(experiment.dataset)} finds those that "
            "stop a training."
        )
    console.print(_runs(found))
    say(
        f"{len(found.missing)} of {len(found.runs)} runs to make, {found.at_once} at once: "
        f"{found.steps_per_epoch:,} steps of {experiment.protocol.batch_size} images in an epoch, "
        f"{found.epochs} epochs, {found.steps:,} steps in all; "
        f"{found.validation_steps:,} steps of validation after every epoch."
    )
    say(f"{experiment.backbone.name}: {found.parameters:,} parameters.")
    if found.weights is not None:
        say(found.weights)
    gpus = forecasting.free_gpu_memory()
    host = [*found.host] if gpus else [*found.host, *found.device]
    free = forecasting.free_memory()
    console.print(
        _sizes("Memory of one process", host, found.at_once, None if free is None else [free])
    )
    if gpus:
        console.print(_sizes("Memory of one GPU", found.device, 1, gpus))
    console.print(_sizes(f"Disk, {out}", found.disk, 1, [forecasting.free_disk(out)]))
    cache = forecasting.image_cache(experiment, found.dataset)
    if cache is not None:
        folder = forecasting.cache_folder(experiment)
        console.print(_sizes(f"Disk, {folder}", [cache], 1, [forecasting.free_disk(folder)]))
    say("Estimates; nothing was trained or written.")
    return found


def refuse(forecasts: Iterable[Forecast]) -> None:
    """Raise what the first of some runs would fail of, after all of it has been shown."""
    for found in forecasts:
        if found.refusal is not None:
            raise found.refusal


def show_grid_forecast(
    grid: Grid,
    out: Path,
    only: Collection[str] | None,
    methods: Collection[str] | None,
    seeds: Collection[int] | None,
    shard: Shard | None,
    at_once: int,
) -> list[Forecast]:
    """Print what the experiments of a grid will take, a line each, and all together."""
    from lsplus_tf.experiments import forecasting
    from lsplus_tf.experiments.grid import Part, check_grid, each_part, plan_grid

    check_grid(grid, out)
    parts = plan_grid(grid.only(only), out, methods, seeds, shard)
    console = terminal()

    def reckon(part: Part) -> Forecast:
        with console.status(f"{part.key} ..."):
            return forecasting.forecast(
                part.experiment, part.folder, part.methods, part.seeds, part.shard, at_once
            )

    forecasts = each_part(parts, reckon)
    table = Table(caption="Memory: of one process, at most.", caption_justify="left")
    for heading in ("experiment", "runs to make", "steps", "memory", "disk"):
        table.add_column(heading, justify="left" if heading == "experiment" else "right")
    disk = [sum(size.bytes for size in found.disk) for found in forecasts]
    for part, found, needed in zip(parts, forecasts, disk, strict=True):
        memory = sum(size.bytes for size in [*found.host, *found.device])
        runs = f"{len(found.missing)} of {len(found.runs)}"
        table.add_row(part.key, runs, f"{found.steps:,}", _readable(memory), _readable(needed))
    table.add_section()
    left, planned = (
        sum(len(getattr(found, what)) for found in forecasts) for what in ("missing", "runs")
    )
    steps = sum(found.steps for found in forecasts)
    table.add_row("all", f"{left} of {planned}", f"{steps:,}", "", _readable(sum(disk)))
    table.add_row("free", "", "", "", _readable(forecasting.free_disk(out)))
    console.print(table)
    for said in dict.fromkeys(found.weights for found in forecasts if found.weights):
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print("Estimates; nothing was trained or written.", highlight=False)
    return forecasts


def _runs(found: Forecast) -> Table:
    table = Table()
    for heading in ("", "run", "after", "state"):
        table.add_column(heading, justify="right" if not heading else "left")
    for number, planned in enumerate(found.runs, start=1):
        needs = ", ".join(map(str, planned.needs))
        table.add_row(str(number), str(planned.run), needs, _state(planned, found.epochs))
    return table


def _state(planned: Planned, epochs: int) -> str:
    if planned.finished:
        return "finished"
    return f"goes on after {planned.saved} of {epochs} epochs" if planned.saved else ""


def _sizes(title: str, sizes: Sequence[Size], times: int, free: Sequence[int] | None) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("for")
    table.add_column("needed", justify="right")
    table.add_column("reckoned as")
    for size in sizes:
        table.add_row(size.what, _readable(size.bytes), size.how)
    table.add_section()
    total = sum(size.bytes for size in sizes)
    table.add_row("all", _readable(total))
    if times > 1:
        table.add_row(f"of {times} processes", _readable(times * total))
    if free is not None:
        table.add_row("free", ", ".join(map(_readable, free)))
    return table


def _readable(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.1f} KiB"
