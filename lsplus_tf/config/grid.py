"""A grid: experiments that one command makes, such as a paper's data sets and networks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lsplus_tf.bounded import yaml_text
from lsplus_tf.config.experiment import (
    NOT_ON_WINDOWS,
    REPORT,
    REPORT_SELECTED,
    Experiment,
    MethodName,
)
from lsplus_tf.config.loading import (
    check_override,
    checked,
    config_file,
    load_config,
    merged,
    packaged_configs,
    parse_config,
    read_yaml,
    with_overrides,
)
from lsplus_tf.config.settings import Settings
from lsplus_tf.errors import InputError, MissingDataError, did_you_mean

_MOST = 1000  # experiments; the papers have 6


class _GridFile(Settings):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    every: dict[str, Any] | None = None
    grid: dict[MethodName, dict[str, Any]] = Field(min_length=1, max_length=_MOST)


@dataclass(frozen=True)
class Grid:
    """Experiments that are made and reported together, each in a folder of its own.

    In a config it is written as `grid`: an entry for each experiment, with the `config` that it
    starts from, a file beside this one or the name of a packaged one, and what is different there.
    What `every` has is different for all of them.

    Attributes
    ----------
    name : str
        Its folder is runs/NAME unless --out says otherwise.
    experiments : dict of str to Experiment
        By the names of their folders.

    Examples
    --------
    >>> grid = load_grid("ols_paper")
    >>> [experiment.backbone.name for experiment in grid.experiments.values()]
    ['resnet50', 'mobilenet_v2', 'vgg19']
    >>> [experiment.backbone.name for experiment in grid.only(["vgg19"]).experiments.values()]
    ['vgg19']
    """

    name: str
    experiments: dict[str, Experiment]

    def only(self, names: Collection[str] | None) -> Grid:
        """The experiments of which a name is given, or a part of it between underscores.

        Raises
        ------
        InputError
            A name that is that of no experiment.
        """
        if names is None:
            return self
        for name in names:
            if not any(_is_called(key, name) for key in self.experiments):
                known = ", ".join(self.experiments)
                raise InputError(f"--only: expected names, or parts, of {known}; received {name}")
        chosen = {
            key: experiment
            for key, experiment in self.experiments.items()
            if any(_is_called(key, name) for name in names)
        }
        return replace(self, experiments=chosen)

    def to_yaml(self) -> str:
        """The grid as YAML, with all settings of every experiment."""
        grid = {key: each.model_dump(mode="json") for key, each in self.experiments.items()}
        return yaml_text({"name": self.name, "grid": grid})


def _is_called(key: str, name: str) -> bool:
    return f"_{name}_" in f"_{key}_"


def load_grid(path: str | Path, overrides: Sequence[str] = ()) -> Grid:
    """Read a grid of experiments from YAML, with `key.subkey=value` overrides.

    Parameters
    ----------
    path : str or Path
        The YAML file, or the name of one that comes with the package, such as "ls_plus_paper".
    overrides : sequence of str
        For every experiment, such as "protocol.epochs=3"; for one, as
        "grid.EXPERIMENT.protocol.epochs=3"; or "name=NAME", of the grid.

    Raises
    ------
    InputError
        No such file, not YAML, no grid, an unknown key, or a wrong value; every one is named.

    Examples
    --------
    >>> from lsplus_tf.config import load_grid
    >>> grid = load_grid("ls_plus_paper", ["protocol.epochs=3"])
    >>> len(grid.experiments), {each.protocol.epochs for each in grid.experiments.values()}
    (6, {3})
    """
    path = config_file(path)
    values = read_yaml(path)
    if "grid" not in values:
        raise InputError(f"{path}: expected a grid of experiments; it has no key 'grid'")
    for override in overrides:
        check_override(override)
        if override.startswith("every."):
            raise InputError(f"--set {override}: leave out 'every.', --set KEY=VALUE is for all")
    of_file = [o for o in overrides if o.startswith(("grid.", "name="))]
    of_all = [o for o in overrides if o not in of_file]
    entries = values["grid"]
    for override in of_file:
        _, *keys = override.partition("=")[0].split(".")
        if len(keys) > 1 and isinstance(entries, dict) and keys[0] not in entries:
            known = ", ".join(entries)
            raise InputError(f"--set {override}: the grid has {known}; received {keys[0]}")
    plain = with_overrides(values, of_file)
    file = checked(_GridFile, plain, str(path), of_file)
    experiments = {}
    for key, entry in file.grid.items():
        source = f"{path}: grid.{key}"
        if key in (REPORT, REPORT_SELECTED, *NOT_ON_WINDOWS):
            raise InputError(
                f"{source}: expected another name, which lsplus-tf or Windows takes for something "
                "else"
            )
        start = _start(entry.pop("config", None), path, source)
        changes = merged(merged(start, file.every or {}), entry)
        dataset = changes.get("dataset", {})
        if isinstance(dataset, dict) and "name" not in dataset:
            raise InputError(
                f"{source}: expected config, the config that it starts from, or a whole "
                f"experiment; received {', '.join(entry) or 'nothing'}"
            )
        # What is said of one comes after what is said of all.
        own = {o.removeprefix(f"grid.{key}."): o for o in of_file if o.startswith(f"grid.{key}.")}
        some = [*of_all, *(o for o in own if not o.startswith("config="))]
        try:
            experiments[key] = parse_config(with_overrides(changes, some), source, some)
        except InputError as error:
            text = str(error)
            for short, given in own.items():
                text = text.replace(f"--set {short}", f"--set {given}")
            raise InputError(text) from error
    return Grid(file.name, experiments)


def _start(config: Any, path: Path, source: str) -> dict[str, Any]:
    """What an entry of the grid in `path` starts from: the config it names, or nothing."""
    if config is None:
        return {}
    if not isinstance(config, str):
        raise InputError(f"{source}.config: expected the name of a config, received {config!r}")
    beside = (path.parent / config, path.parent / f"{config}.yaml")
    found = next(filter(Path.is_file, beside), None)
    if found is None:
        found = packaged_configs().get(config)
    if found is None:
        own = packaged_configs()
        hint = did_you_mean(config, own) or "; the package's own are " + ", ".join(own)
        raise MissingDataError(
            f"{source}.config: no such file {config} in {path.parent.absolute()}{hint}"
        )
    values = read_yaml(found)
    if "grid" in values:
        raise InputError(f"{source}.config: expected the config of one experiment, received a grid")
    return values


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Experiment | Grid:
    """What a config has: an experiment, or a grid of them.

    Parameters
    ----------
    path, overrides
        As in `load_config` and `load_grid`.

    Examples
    --------
    >>> from lsplus_tf.config import read_config
    >>> type(read_config("digits")).__name__, type(read_config("ls_plus_paper")).__name__
    ('Experiment', 'Grid')
    """
    is_grid = "grid" in read_yaml(config_file(path))
    return load_grid(path, overrides) if is_grid else load_config(path, overrides)
