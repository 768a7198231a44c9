"""What is written: whole, and never over what is not ours, by every command and function."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from forked import Forked
from PIL import Image

import lsplus_tf as lsp
from lsplus_tf import auditing, cli, files
from lsplus_tf.auditing.page import audit_page
from lsplus_tf.calibrators import TemperatureScaling
from lsplus_tf.calibrators.base import CALIBRATOR
from lsplus_tf.config import Experiment, load_config, to_yaml
from lsplus_tf.csv_files import write_csv
from lsplus_tf.datasets import load_dataset
from lsplus_tf.deployment import export, open_model
from lsplus_tf.errors import FailedRunsError, InputError
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.experiments.folder import EXPERIMENT, REPORT_FOLDER
from lsplus_tf.files import FileKind, FolderKind, OutputError, given_as, writing, written_whole
from lsplus_tf.manifest import write_manifest
from lsplus_tf.page import Page, Section, Text, write_page
from lsplus_tf.paper import report as paper_report
from lsplus_tf.results import Report, gather
from lsplus_tf.training import run_folder


@dataclass(frozen=True)
class Command:
    """A command that writes, without its --out.

    Attributes
    ----------
    arguments : of the command line, in a folder with the inputs.
    reads : those inputs, and what is in them.
    name : what its output is called in these tests.
    computes : with what it begins to read or compute.
    """

    arguments: tuple[str, ...]
    reads: tuple[str, ...]
    name: str
    computes: str

    @property
    def writes_file(self) -> bool:
        return "." in self.name

    @property
    def is_experiment(self) -> bool:
        return self.name == "runs"


EXPORT = (
    ("export", "mine.keras", "--calibrator", "t.json", "--class-names", "a,b"),
    ("mine.keras", "t.json"),
)
DATA = ("data", "data/train/a/0.png", "data/train/a")
OPEN, LIST = "lsplus_tf.deployment.open_model", "lsplus_tf.datasets.loading.list_files"
READ, LOAD = "lsplus_tf.predictions.read_predictions", "lsplus_tf.experiments.engines.load_data"
COMMANDS = {
    "calibrate": Command(("calibrate", "scores.npz"), ("scores.npz",), "c.json", READ),
    "predict": Command(
        ("predict", "mine.keras", "scans", "--calibrator", "t.json", "--class-names", "a,b"),
        ("mine.keras", "scans", "scans/1.png", "t.json"),
        "p.csv",
        OPEN,
    ),
    "export keras": Command(*EXPORT, "one.keras", OPEN),
    "export": Command(*EXPORT, "served", OPEN),
    "audit": Command(("audit", "scores.npz"), ("scores.npz",), "audited", READ),
    "paper": Command(
        ("paper", "lsplus"), ("lsplus",), "papers", "lsplus_tf.paper.artifacts.Artifacts"
    ),
    "datasets show": Command(("datasets", "show", "folder:data"), DATA, "sheet.png", LIST),
    "datasets check": Command(("datasets", "check", "folder:data"), DATA, "found.csv", LIST),
    "train": Command(("train", "digits.yaml"), (), "runs", LOAD),
    "reproduce": Command(("reproduce", "digits.yaml"), (), "runs", LOAD),
}
# What they write, and what the Python functions write.
OUTPUTS = sorted(
    {command.name for command in COMMANDS.values()} | {"report", "page.html", "t.csv", "card.md"}
)
EACH = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def command_line(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command line in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["lsplus-tf", *map(str, arguments)])
        patch.setattr("warnings.showwarning", None)
        patch.setenv("COLUMNS", "120")
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                cli.main()
            except SystemExit as ended:
                return ended.code, stdout.getvalue(), stderr.getvalue()
    raise AssertionError("the command line did not end")


def tree(folder: Path) -> dict[str, tuple[int, object]]:
    """All that is in a folder: modes, contents, and where links lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content: object = path.readlink() if stat.S_ISLNK(mode) else None
        found[str(path.relative_to(folder))] = (
            mode,
            path.read_bytes() if stat.S_ISREG(mode) else content,
        )
    return found


def fitted() -> TemperatureScaling:
    return TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """What the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    logits = rng.normal(size=(60, 2)) + 2 * np.eye(2)[labels]
    np.savez(folder / "scores.npz", logits=logits, labels=labels)
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    model.save(folder / "mine.keras")
    fitted().save(folder / "t.json")
    for name in (
        "scans/1.png",
        "scans/2.png",
        *(f"data/train/{k}/{i}.png" for k in "ab" for i in range(10)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / name)
    (folder / "lsplus").mkdir()
    (folder / "lsplus" / "README.md").write_text("the authors'")
    (folder / "digits.yaml").write_text(to_yaml(load_config("digits")))
    return folder


@pytest.fixture(scope="module")
def written(inputs, tmp_path_factory) -> Path:
    """An output of every kind."""
    folder = tmp_path_factory.mktemp("written")
    audit = some_audit()
    with contextlib.chdir(inputs), pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "audit", lambda *_, **__: audit)
        for command in COMMANDS.values():
            if command.name not in ("papers", "runs"):
                code, _, stderr = command_line(*command.arguments, "--out", folder / command.name)
                assert code == 0, stderr
    section = paper_report.Section("Table 1", "nothing", tables={"mhist_runs": pd.DataFrame([1])})
    paper_report.write_report([section], [], Path("lsplus"), folder / "papers")
    (folder / "runs").mkdir()
    (folder / "runs" / EXPERIMENT).write_text(to_yaml(load_config("digits")))
    (folder / "report").mkdir()
    (folder / "report" / "table.md").write_text("# digits: test split\n")
    assert REPORT_FOLDER.is_ours(folder / "report")
    write_page(Page("Mine", [Section("Verdict", [Text("Nothing.")])]), folder / "page.html")
    write_csv(pd.DataFrame({"a": [1]}), folder / "t.csv")
    auditing.write_model_card(audit, folder / "card.md", dataset="cases")
    assert sorted(path.name for path in folder.iterdir()) == OUTPUTS
    return folder


@pytest.fixture
def place(inputs, tmp_path, monkeypatch) -> Path:
    """The current folder, with the inputs and what else the user has."""
    folder = tmp_path / "place"
    shutil.copytree(inputs, folder)
    (folder / "notes.txt").write_text("years of work")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("years of work")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".profile").write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(place, monkeypatch) -> Callable[..., str]:
    """Give a command an --out that it must refuse before anything is computed."""

    def computed(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    def refuse(command: Command, out: object, argument: str = "--out") -> str:
        before = tree(place.parent)
        with monkeypatch.context() as patch:
            patch.setattr(command.computes, computed)
            code, stdout, stderr = command_line(*command.arguments, f"--out={out}")
        assert (code, stdout) == (2, ""), (out, stderr)
        (line,) = stderr.splitlines()
        assert line.startswith(f"error: {argument}: "), line
        assert line.isprintable()
        assert ".lsplus_tf" not in line
        assert tree(place.parent) == before
        return line

    return refuse


# --- where nothing is written ---------------------------------------------------------------------


def folders(place: Path) -> Iterator[str]:
    """Folders with something of the user's, and other names of folders."""
    yield "mine"
    yield str(place / "mine")
    yield "mine/"
    yield "mine/../mine"
    yield "nowhere/../mine"
    yield "."
    yield ".."
    yield "/"
    yield "~"
    yield "~/"
    Path("hidden").mkdir()
    Path("hidden", ".git").write_text("mine")
    yield "hidden"
    Path("deep/er").mkdir(parents=True)  # a folder that holds nothing but folders
    yield "deep"
    Path("linked").symlink_to("mine")
    yield "linked"
    Path("chain").symlink_to("linked")
    yield "chain"
    Path("links").mkdir()
    Path("links", "link").symlink_to(place / "mine")
    yield "links"
    Path("strange\n\x1b[31m[bold]").mkdir()
    Path("strange\n\x1b[31m[bold]", "x").write_text("mine")
    yield "strange\n\x1b[31m[bold]"


def impossible(place: Path) -> Iterator[str]:
    """Where neither a file nor a folder can be."""
    yield ""
    yield " "
    yield "~nobody_of_this_name/out.json"
    yield "notes.txt/out.json"
    yield "notes.txt/deep/er/out.json"
    Path("nothing").symlink_to("not there")
    yield "nothing"
    yield "nothing/out.json"
    Path("loop").symlink_to("loop")
    yield "loop"
    os.mkfifo("pipe")
    yield "pipe"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    yield "socket"
    yield "/dev/null"
    yield "/dev/full"
    yield "/proc/out.json"
    yield "/proc/deep/er/out.json"
    yield "new.xlsx"
    yield "new/er.TEX"
    yield "x" * 256
    yield f"new/{'x' * 256}/out.json"
    Path("read_only").mkdir()
    Path("read_only").chmod(0o555)
    yield "read_only/out.json"
    yield "read_only/deep/out.json"


@EACH
@pytest.mark.parametrize("where", [folders, impossible])
def test_an_output_has_no_place(refused, place, command, where):
    for out in where(place):
        refused(command, out)


@EACH
def test_an_input_is_not_replaced(refused, place, command):
    for number, read in enumerate(command.reads):
        refused(command, read)
        Path(f"link_{number}").symlink_to(read)
        refused(command, f"link_{number}")
        if Path(read).is_file():
            os.link(read, f"hard_link_{number}")
            refused(command, f"hard_link_{number}")
    if command.writes_file:  # also if it is of the kind that is written
        Path("mine", command.name).write_bytes(b"")
        given = (command.arguments[0], f"mine/{command.name}", *command.arguments[2:])
        if command.arguments[0] in ("calibrate", "predict", "export"):
            line = refused(Command(given, (), "", command.computes), f"mine/{command.name}")
            assert "is what is read; name another" in line


@EACH
@pytest.mark.parametrize("output", OUTPUTS)
def test_what_lsplus_tf_wrote_as_another_kind(refused, place, written, command, output):
    copy = (shutil.copytree if (written / output).is_dir() else shutil.copy)(
        written / output, place / output
    )
    by_its_name = {"one.keras", "served"}  # export writes either
    if output != command.name and {output, command.name} != by_its_name:
        refused(command, copy.name)


FOREIGN = {
    "c.json": [b"{}", b'{"format": "other"}', b"\xff\xfe", b'["lsplus_tf calibrator"]', b"\n"],
    "p.csv": [b"file,label\n1.png,a\n", b"file,predicted,confidence,abstained,mine\n", b"\xff\n"],
    "found.csv": [b"problem,split,class,file,other_file,detail,mine\n", b"problem\n", b"\x00\n"],
    "one.keras": [b"PK\x03\x04 no archive", b"x"],
    "sheet.png": [b"\x89PNG\r\n\x1a\n", b"x"],
}


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS.values() if c.writes_file], ids=lambda c: c.name
)
def test_a_file_that_is_not_ours(refused, place, command):
    contents = [*FOREIGN[command.name]]
    if command.name == "sheet.png":
        contents.append(Path("scans/1.png").read_bytes())  # the user's image
    if command.name == "one.keras":
        contents.append(Path("mine.keras").read_bytes())  # the user's model
    for content in contents:
        Path(command.name).write_bytes(content)
        assert "that lsplus-tf wrote; name another, or move it away" in refused(
            command, command.name
        )
    Path("mine/link").symlink_to(place / command.name)
    refused(command, "mine/link")


@pytest.mark.parametrize("name", ["served", "audited", "papers"])
def test_a_folder_of_ours_with_something_of_the_users(refused, place, written, name):
    command = next(c for c in COMMANDS.values() if c.name == name)

    def hidden(folder: Path) -> None:
        (folder / ".notes").write_text("mine")

    def below(folder: Path) -> None:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "notes.txt").write_text("mine")

    def empty_folder(folder: Path) -> None:
        (folder / "mine").mkdir()

    def link(folder: Path) -> None:
        first = next(path for path in sorted(folder.iterdir()) if path.is_file())
        shutil.move(first, place / first.name)
        first.symlink_to(place / first.name)

    def without_its_mark(folder: Path) -> None:
        for mark in ("audit.json", "report.md", "assets.extra/lsplus_tf.json"):
            (folder / mark).unlink(missing_ok=True)

    def anothers_mark(folder: Path) -> None:
        without_its_mark(folder)
        (folder / "audit.json").write_text('{"format": "other"}')
        (folder / "report.md").write_text("my own report")

    for change in (hidden, below, empty_folder, link, without_its_mark, anothers_mark):
        shutil.copytree(written / name, place / name)
        change(place / name)
        refused(command, name)
        refused(command, f"{name}/../{name}/")
        shutil.rmtree(place / name)
    # As many programs write it.
    (place / name / "variables").mkdir(parents=True)
    (place / name / "saved_model.pb").write_bytes(b"mine")
    assert "holds something that is not" in refused(command, name)


@pytest.mark.parametrize("name", ["served", "audited", "papers"])
def test_what_is_replaced_is_no_folder_that_others_stand_in(
    refused, place, written, name, monkeypatch
):
    command = next(c for c in COMMANDS.values() if c.name == name)
    arguments = [str(place / a) if (place / a).exists() else a for a in command.arguments]
    command = Command(tuple(arguments), (), name, command.computes)
    shutil.copytree(written / name, place / name)
    (place / "empty" / "er").mkdir(parents=True)
    for folder in (name, "empty/er"):
        monkeypatch.chdir(place / folder)
        for out in (".", place / folder, f"../{Path(folder).name}"):
            assert "the current folder" in refused(command, out)
    monkeypatch.chdir(place)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == place / name)
    assert "a mount point; name one in it" in refused(command, name)


def test_no_picture_among_the_images(refused, place):
    """Nor an experiment, whose figures would be images of the next."""
    show = COMMANDS["datasets show"]
    for out in ("data/sheet.png", "data/train/a/new.png", "data/new/er.png"):
        assert "among the images of data" in refused(show, out)
    for name in ("train", "reproduce"):
        given = (*COMMANDS[name].arguments, "--set", "dataset.name=folder:data")
        for out in ("data/runs", "data/train/c"):
            assert "among the images of data" in refused(Command(given, (), "runs", LOAD), out)
    # A table is no image.
    code, *_ = command_line(*COMMANDS["datasets check"].arguments, "--out", "data/found.csv")
    assert code in (0, 1)
    assert Path("data/found.csv").is_file()


def test_inputs_in_what_would_be_replaced(refused, place, written):
    shutil.copytree(written / "audited", place / "audited")
    (place / "audited" / "metrics.csv").rename(place / "metrics.csv")
    shutil.copy(place / "scores.npz", place / "audited" / "metrics.csv")
    given = ("audit", "audited/metrics.csv")
    assert "audited holds audited/metrics.csv, which is read" in refused(
        Command(given, (), "audited", READ), "audited"
    )


@EACH
def test_what_is_protected_is_not_written(refused, place, written, command):
    """By its mode, also where root could."""
    if (written / command.name).is_dir():
        shutil.copytree(written / command.name, place / command.name)
    else:
        shutil.copy(written / command.name, place / command.name)
    (place / command.name).chmod(0o444)
    assert "cannot be written (it is read-only)" in refused(command, command.name)
    (place / command.name).chmod(0o755)
    Path("new").mkdir()
    for path in (command.name, "new"):
        if subprocess.run(["chattr", "+i", path], stderr=subprocess.PIPE).returncode:
            pytest.skip("needs a file system and a user for chattr +i")
        try:
            out = path if path == command.name else f"new/{command.name}"
            assert "cannot be written (Operation not permitted)" in refused(command, out)
        finally:
            subprocess.run(["chattr", "-i", path], check=True)


@EACH
def test_a_full_disk_is_found_first(refused, place, command):
    with no_room():
        assert "cannot be written (" in refused(command, f"new/{command.name}")


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """The system lets nothing be written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS.values() if c.name not in ("papers", "runs")],
    ids=lambda c: c.name,
)
def test_a_disk_that_is_full_in_the_end(place, written, command, monkeypatch):
    """One line, exit code 2, and what was there before is there still."""
    (shutil.copytree if (written / command.name).is_dir() else shutil.copy)(
        written / command.name, place / command.name
    )
    monkeypatch.setattr(files, "_try_to_write", lambda *_: None)
    audit = some_audit()
    monkeypatch.setattr(auditing, "audit", lambda *_, **__: audit)
    before = tree(place)
    for out in (command.name, f"new/deep/{command.name}"):
        with no_room():
            code, _, stderr = command_line(*command.arguments, "--out", out)
        assert code == 2
        assert stderr == f"error: --out: {out} cannot be written (File too large)\n"
        assert tree(place) == before


@functools.cache
def some_audit() -> Any:
    predictions = lsp.Predictions([0, 1] * 50, probabilities=[[0.9, 0.1]] * 100)
    return lsp.audit(predictions, num_resamples=20)


@functools.cache
def its_page() -> Page:
    return audit_page(some_audit())


@pytest.fixture(scope="module", autouse=True)
def one_page() -> Iterator[None]:
    """Every audit is written with the same page, whose pictures are drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsplus_tf.auditing.output.audit_page", lambda _: its_page())
        yield


# --- where something is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS.values() if c.name not in ("papers", "runs")],
    ids=lambda c: c.name,
)
def test_where_an_output_is_written(place, written, command, monkeypatch, tmp_path):
    audit = some_audit()
    monkeypatch.setattr(auditing, "audit", lambda *_, **__: audit)
    kind = set(names(written / command.name))

    def write(out: str) -> None:
        code, stdout, stderr = command_line(*command.arguments, f"--out={out}")
        assert (code, stderr) == (0, "")
        assert "Written: " in stdout

    # Over an earlier one, through a link, which stays.
    (shutil.copytree if (written / command.name).is_dir() else shutil.copy)(
        written / command.name, place / "mine" / command.name
    )
    (place / "mine" / command.name).chmod(0o750)
    Path("link").symlink_to(f"mine/{command.name}")
    if command.name.endswith(".keras"):
        Path("link").rename("link.keras")
    link = next(place.glob("link*"))
    before = link.stat().st_ino
    write(link.name)
    assert link.is_symlink()
    assert link.stat().st_ino != before
    assert stat.S_IMODE(link.stat().st_mode) == 0o750
    assert set(names(link.resolve())) == kind
    assert sorted(os.listdir("mine")) == sorted(["notes.txt", command.name])
    # Where nothing is, or nothing of anybody's.
    odd = f"~/new/ü {'[b]' * 50}\n'{command.name}"
    write(odd)
    assert set(names(Path(odd).expanduser())) == kind
    if command.writes_file:
        Path("empty" + Path(command.name).suffix).touch()
        write("empty" + Path(command.name).suffix)
    else:
        Path("empty").mkdir()
        Path("empty", ".DS_Store").touch()
        write("empty/")
        assert set(names(Path("empty"))) == kind
    assert not [*tmp_path.rglob("*.lsplus_tf")]


def names(path: Path) -> list[str]:
    return [str(p.relative_to(path)) for p in path.rglob("*")]


@pytest.mark.usefixtures("undrawn")
def test_all_that_a_report_holds_is_known(reproduced, tmp_path):
    """So that it can be replaced."""
    copy = shutil.copytree(
        reproduced.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.keras", "report*")
    )
    results = gather(copy, methods=["hard_labels", "online_label_smoothing"])
    update = {
        "calibrators": ("temperature",),
        "ensembles": ("hard_labels",),
        "ensemble_calibration": ("whole", "members"),
    }
    experiment = results.experiment.model_copy(update=update)
    results = dataclasses.replace(results, experiment=experiment)
    rng = np.random.default_rng(0)
    kept = run_folder.Features(
        rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 10, np.arange(30).astype(str)
    )
    for run in results.runs:
        run_folder.write_features(run.folder(copy), kept)
        write_manifest(run.folder(copy), {})
    Report(results).write()
    table = pd.read_csv(copy / "report" / "features.csv")
    assert [*table["method"]] == [run.method for run in results.runs]
    assert (copy / "report" / "features.png").is_file()
    assert "t-SNE of the first run" in (copy / "report" / "report.html").read_text("utf-8")
    calibrators = {
        "hard_labels_ensemble+temperature.json",
        "hard_labels+temperature_seed_0.json",
        "hard_labels+temperature_ensemble_seed_1.json",
    }
    assert calibrators <= set(os.listdir(copy / "report" / "calibrators"))
    assert (copy / "report" / "soft_labels_online_label_smoothing.png").is_file()
    files.check_output(copy / "report", REPORT_FOLDER)
    others = ("truth.md", "truth_runs.csv", "soft_labels_truth.png", "paper.csv")
    for name in (*others, "density_seed_12.png", "retention_seed_0.png"):
        (copy / "report" / name).touch()
    files.check_output(copy / "report", REPORT_FOLDER)
    (copy / "report" / "notes.md").write_text("mine")
    with pytest.raises(OutputError, match=r"name: .* holds notes\.md beside a report"):
        Report(results).write()
    for name in ("..", ".", "", "a/b", "ls_plus", str(tmp_path)):
        with pytest.raises(InputError, match="name: "):
            Report(results).write(name)


# --- Python functions -----------------------------------------------------------------------------


@functools.cache
def model(place: Path) -> Any:
    return open_model(place / "mine.keras", class_names=["a", "b"])


FUNCTIONS: dict[str, tuple[str, str, Callable[[Path, Any], Any]]] = {
    "write_audit": ("audited", "folder", lambda _, out: auditing.write_audit(some_audit(), out)),
    "write_model_card": (
        "card.md",
        "file",
        lambda _, out: auditing.write_model_card(some_audit(), out, dataset="cases"),
    ),
    "save": ("c.json", "path", lambda _, out: fitted().save(out)),
    "export": ("served", "out", lambda place, out: export(model(place), out, calibrator=fitted())),
    "write_csv": ("t.csv", "path", lambda _, out: write_csv(pd.DataFrame({"a": [1]}), out)),
    "write_page": ("page.html", "path", lambda _, out: write_page(Page("Mine", []), out)),
    "paper": ("papers", "out", lambda _, out: paper_report.write_report([], [], Path("x"), out)),
    "run_experiment": ("runs", "--out", lambda _, out: run_experiment(load_config("digits"), out)),
}


@pytest.mark.parametrize(("name", "argument", "function"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_that_write(place, written, name, argument, function):
    for output in OUTPUTS:
        (shutil.copytree if (written / output).is_dir() else shutil.copy)(
            written / output, place / output
        )
    others = set(OUTPUTS) - {name, "one.keras"}  # which export takes too, by its name
    places = [*folders(place), *impossible(place), *sorted(others)]
    before = tree(place)
    for out in [*places, "x\0y"]:
        with pytest.raises(InputError) as caught:
            function(place, out)
        assert str(caught.value).startswith(f"{argument}: ")
        assert tree(place) == before
    if name != "runs":  # which the test below trains
        for out in (name, f"~/{name}", place / "new" / name):
            function(place, out)
        assert (Path.home() / name).exists()


# --- whole or not at all --------------------------------------------------------------------------

TEXT = FileKind("a text", lambda path: path.read_text() in ("old", "new"), ".txt")
TEXTS = FolderKind("texts", lambda path: (path / "a").is_file(), re.compile("a|b"))
KINDS = pytest.mark.parametrize("kind", [TEXT, TEXTS], ids=["file", "folder"])
EXCHANGE = pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "renamed"])


def put(path: Path, kind: FileKind | FolderKind, text: str) -> None:
    if kind is TEXT:
        path.write_text(text)
        return
    path.mkdir()
    for name in "ab":
        (path / name).write_text(text)


@KINDS
@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        *(("a.txt", True), ("a", True), ("a.b", True), ("v1.2", True), (".hidden", True)),
        *(("a.txt.bak", True), ("a.csv", False), ("a.XLSX", False), ("a.txt.gz", False)),
        *(("a.json", False), ("a.png", False), ("a.html", False), ("a.npz", False)),
    ],
)
def test_names_that_end_as_those_of_another_kind(tmp_path, kind, name, accepted):
    """A new one; what is there is of a kind, whatever it is called."""
    if accepted:
        files.check_output(tmp_path / name, kind)
    else:
        end = "a name that ends in .txt, as of a text" if kind is TEXT else "the name of a folder"
        with pytest.raises(OutputError, match=f"^--out: expected {end}.* received .*{name}$"):
            files.check_output(tmp_path / name, kind)
    put(tmp_path / name, kind, "old")
    files.check_output(tmp_path / name, kind)


def content(path: Path) -> str:
    """What is whole under a name."""
    if path.is_file():
        return path.read_text()
    (text,) = {(path / name).read_text() for name in "ab"}
    return text


class Killed(BaseException):
    """What no `except` is for."""


@KINDS
@EXCHANGE
def test_an_interruption_at_every_step(tmp_path, monkeypatch, kind, exchange):
    path = tmp_path / "result"
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    steps = []
    for number in range(1, 100):
        put(path, kind, "old")
        before, left = tree(tmp_path), [number]

        def interrupted(function: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("_to_disk", "_sync", "_exchange", "check_output", "_put"):
                patch.setattr(files, name, interrupted(getattr(files, name), left))
            for module, name in (
                (os, "replace"),
                (shutil, "copymode"),
                (tempfile, "TemporaryFile"),
            ):
                patch.setattr(module, name, interrupted(getattr(module, name), left))
            try:
                with writing(path, kind) as new:
                    put(new, kind, "new")
            except Killed:
                steps.append(content(path))
                assert [p.name for p in tmp_path.iterdir()] == ["result"]
                if steps[-1] == "old":
                    assert tree(tmp_path) == before
            else:
                assert left[0] > 0  # all steps were interrupted
                break
        (path.unlink if kind is TEXT else lambda: shutil.rmtree(path))()
    assert "old" in steps
    assert content(path) == "new"


DIES = """
    import os, pathlib, re, shutil, signal, sys
    from lsplus_tf import files
    from lsplus_tf.files import FileKind, FolderKind

    def live(path, kind, moment, exchange):
        left = [moment]

        def dying(function):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)
            return call

        files._exchange = dying(files._exchange) if exchange else lambda *_: False
        for name in ("_to_disk", "_sync", "_put_back", "_remove"):
            setattr(files, name, dying(getattr(files, name)))
        os.replace, shutil.rmtree = dying(os.replace), dying(shutil.rmtree)
        with files.writing(path, kind) as new:
            if isinstance(kind, FolderKind):
                new.mkdir()
            for each in [new / name for name in "ab"] if new.is_dir() else [new]:
                each.write_text("new")

    place, exchange = pathlib.Path(sys.argv[1]), sys.argv[2] == "True"
    for name, kind in (
        ("file", FileKind("a text", lambda path: True, ".txt")),
        ("folder", FolderKind("texts", lambda path: True, re.compile("a|b"))),
    ):
        for moment in range(1, 50):
            child = os.fork()
            if child == 0:
                live(place / str(moment) / name, kind, moment, exchange)
                os._exit(0)
            print(name, moment, os.waitpid(child, 0)[1], flush=True)
"""


@EXCHANGE
def test_killed_at_every_step(tmp_path, exchange):
    """One of the two is whole under its name, or the next call puts the old one back."""
    kinds = {"file": TEXT, "folder": TEXTS}
    for moment in range(1, 50):
        (tmp_path / str(moment)).mkdir()
        for name, kind in kinds.items():
            put(tmp_path / str(moment) / name, kind, "old")
    begin = [sys.executable, "-c", textwrap.dedent(DIES), str(tmp_path), str(exchange)]
    ended = subprocess.run(begin, capture_output=True, text=True, check=True).stdout
    found = set()
    for line in ended.splitlines():
        name, moment, code = line.split()
        path = tmp_path / moment / name
        found.add((name, code, content(path) if path.exists() else "none"))
        with contextlib.suppress(Killed), writing(path, kinds[name]):
            raise Killed
        assert content(path) in ("old", "new")
    for moment in range(1, 50):
        assert sorted(p.name for p in (tmp_path / str(moment)).iterdir()) == [*kinds]
    ends = [("9", "old"), ("9", "new"), ("0", "new")]
    expected = {(name, *end) for name in kinds for end in ends}
    without = {("folder", "9", "none")}  # for a moment, where folders cannot be exchanged
    assert found == expected | (set() if exchange else without)


def test_two_that_write_the_same(tmp_path):
    """The second is refused, or waits."""
    path, said = tmp_path / "result", []

    def second(patience: float) -> None:
        try:
            with writing(path, TEXT, patience=patience) as new:
                put(new, TEXT, "new")
            said.append("written")
        except OutputError as error:
            said.append(str(error))

    with writing(path, TEXT) as new:
        thread = threading.Thread(target=second, args=(0.1,))
        thread.start()
        thread.join()
        waiting = threading.Thread(target=second, args=(-1,))
        waiting.start()
        put(new, TEXT, "old")
    waiting.join()
    assert said == [
        f"--out: another process is writing {path}; wait until it has ended, or name another",
        "written",
    ]
    assert content(path) == "new"
    assert [*tmp_path.iterdir()] == [path]


def test_what_came_while_it_was_computed(tmp_path):
    for path, kind in ((tmp_path / "file", TEXT), (tmp_path / "folder", TEXTS)):

        def write(path: Path = path, kind: FileKind | FolderKind = kind) -> None:
            with writing(path, kind) as new:
                put(new, kind, "new")
                path.mkdir()
                (path / "notes.txt").write_text("mine")

        with pytest.raises(OutputError):
            write()
        assert [p.name for p in path.iterdir()] == ["notes.txt"]


def test_errors_about_other_files_are_not_the_outputs(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "result", TEXT):
        (tmp_path / "input").read_text()
    with (
        pytest.raises(OutputError, match=r"result cannot be written \(No such file or dir"),
        writing(tmp_path / "result", TEXT) as new,
    ):
        (new / "x").write_text("")
    assert [*tmp_path.iterdir()] == []


def test_an_option_is_named_for_its_own_argument_only():
    for argument, named in (("folder", "--out"), ("dataset.cache_dir", "dataset.cache_dir")):
        with pytest.raises(OutputError, match=f"^{named}: wrong$"), given_as("--out", "folder"):
            raise OutputError(argument, "wrong")


def test_no_internal_name_is_told(tmp_path):
    (tmp_path / "result").mkdir()
    with (
        pytest.raises(IsADirectoryError) as caught,
        written_whole(tmp_path / "result") as partial,
    ):
        partial.write_text("")
    assert caught.value.filename == str(tmp_path / "result")


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x: wrong"), 2, "error: x: wrong\n"),
        (PermissionError(13, "Permission denied", "a\nb"), 2, "error: a b: Permission denied\n"),
        (OSError("no space"), 2, "error: no space\n"),
        (FailedRunsError("1 of 2"), 1, "error: 1 of 2\n"),
        (KeyboardInterrupt(), 130, ""),
        (KeyError("a bug"), 3, "KeyError: 'a bug'\n"),
    ],
)
def test_exit_codes(place, monkeypatch, error, code, said):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(READ, fail)
    ended, _, stderr = command_line("audit", "scores.npz", "--fail-if", "ece>0")
    assert ended == code
    assert stderr.endswith(said)
    assert ("Traceback" in stderr) == (code == 3)


def test_an_output_that_nobody_reads_is_no_failed_condition(place):
    process = subprocess.Popen(
        [sys.executable, "-m", "lsplus_tf.cli", "methods"], stdout=subprocess.PIPE, stderr=-1
    )
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""


def test_only_a_condition_that_holds_gives_1(place):
    given = ("audit", "scores.npz", "--resamples", "200", "--fail-if", "ece>0")
    assert command_line(*given, "--out", "new")[0] == 1
    assert command_line(*given, "--out", "mine")[0] == 2
    assert command_line(*given, "--out", "/proc/new")[0] == 2


# --- experiments ----------------------------------------------------------------------------------


def config(**methods: Any) -> dict[str, Any]:
    return {**load_config("digits").model_dump(mode="json"), "methods": methods}


HARD = {"loss": "hard_labels"}


def test_names_that_are_taken(reproduced, place):
    """All that a command puts into an experiment's folder beside the runs."""
    experiment = gather(reproduced.folder).experiment
    beside = {path.name for path in reproduced.folder.iterdir()} - set(experiment.methods)
    assert {"report", EXPERIMENT} <= beside
    wrong = [*beside, "Report", "report_selected", "REPORT", ".hidden", "..", "a/b", "a\\b", ""]
    wrong += ["con", "com1", "lpt9", "nul", "truth", "x" * 101, "seed 0", "é"]
    for name in wrong:
        Path("c.yaml").write_text(yaml.safe_dump(config(hard=HARD, **{name: HARD})))
        code, stdout, stderr = command_line("train", "c.yaml", "--out", "new")
        assert (code, stdout) == (2, ""), name
        (line,) = stderr.splitlines()
        assert "methods" in line
    for name in ("reports", "seed_0", "calibrators", "contour", "x" * 100):
        Experiment.model_validate(config(**{name: HARD}))
    ensemble = {**config(a=HARD, a_ensemble=HARD), "ensembles": ["a"]}
    with pytest.raises(ValueError, match="that of an ensemble"):
        Experiment.model_validate(ensemble)
    Experiment.model_validate({**ensemble, "ensembles": ["a_ensemble"]})
    for name in ("con", "Aux.x", "", "..", ".x", "a/b", "x" * 101):
        with pytest.raises(ValueError, match="name"):
            Experiment.model_validate({**config(hard=HARD), "name": name})


@pytest.fixture
def copied(reproduced, tmp_path) -> Path:
    return shutil.copytree(reproduced.folder, tmp_path / "copied")


def test_what_is_in_the_way_of_the_report_is_found_before_the_training(
    reproduced, copied, monkeypatch
):
    (copied / "report" / "notes.md").write_text("mine")
    before = tree(copied)
    code, _, stderr = command_line("report", copied)
    assert code == 2
    assert stderr.startswith(f"error: RUNS: {copied / 'report'} holds notes.md beside a report")
    (copied / "ls_plus" / "seed_1").rename(copied.parent / "seed_1")
    monkeypatch.setattr(LOAD, None)
    code, stdout, stderr = command_line("reproduce", *reproduced.arguments, "--out", copied)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(f"error: --out: {copied / 'report'} holds notes.md beside a report")
    (copied.parent / "seed_1").rename(copied / "ls_plus" / "seed_1")
    assert tree(copied) == before


def test_what_the_user_has_beside_the_runs_stays(reproduced, copied):
    (copied / "notes.txt").write_text("mine")
    (copied / "figures").mkdir()
    (copied / "ls_plus" / "notes.txt").write_text("mine")
    before = tree(copied)
    code, _, stderr = command_line("train", *reproduced.arguments, "--out", copied)
    assert code == 0, stderr
    assert tree(copied) == before


def test_a_config_that_was_edited_by_hand(reproduced, copied):
    path = copied / EXPERIMENT
    path.write_text(f"# my notes\n{path.read_text()}")
    before = tree(copied)
    assert command_line("train", path, "--out", copied)[0] == 0
    assert tree(copied) == before
    code, _, stderr = command_line("train", path, "--out", copied, "--set", "seeds=[0]")
    assert code == 2
    assert stderr.startswith(f"error: --out: {path} differs from the config, and was edited by h")
    assert tree(copied) == before


@pytest.mark.parametrize("text", ["steps: [1, 2]\n", "", "name: [", "a list"])
def test_a_config_of_another_program(place, text):
    Path("mine", EXPERIMENT).write_text(text)
    before = tree(place)
    code, _, stderr = command_line("train", "digits.yaml", "--out", "mine")
    assert code == 2
    assert "name another --out" in stderr
    assert tree(place) == before


def test_a_file_where_runs_belong(refused, place, written):
    shutil.copytree(written / "runs", place / "runs")
    Path("runs/ls_plus").write_text("mine")
    assert "expected runs/ls_plus to be a folder" in refused(COMMANDS["train"], "runs")


def test_a_run_of_other_settings_is_not_reported(reproduced, copied):
    runs = [Run("ls_plus", seed).folder(copied) for seed in (0, 1)]
    settings = runs[0] / run_folder.SETTINGS
    shutil.copy(runs[1] / run_folder.SETTINGS, settings)
    write_manifest(runs[0], {})
    for given in (("report", copied), ("reproduce", *reproduced.arguments, "--out", copied)):
        code, _, stderr = command_line(*given)
        assert code == 2
        assert "seed = 1 where the config says 0" in stderr
    with pytest.raises(InputError, match=f"{runs[0]} holds results with .*seed = 1"):
        gather(str(copied))
    settings.unlink()
    with pytest.raises(InputError, match=f"{settings}: damaged, it is missing"):
        gather(copied)


def test_two_commands_that_begin_in_a_new_folder_at_once(reproduced, tmp_path):
    """One goes on, the other is refused, whichever it is."""
    out = tmp_path / "out"
    settings = (
        "--set",
        "protocol.schedule=null",
        "--set",
        "backbone.width=0.1",
        "--set",
        "seeds=[0]",
    )
    begin = ["-m", "lsplus_tf.cli", "train", "digits", "--out", str(out)]
    begin += [*settings, "--methods", "hard_labels"]
    commands = [Forked(*begin, "--set", f"protocol.epochs={epochs}") for epochs in (1, 2)]
    said = [command.communicate(timeout=600) for command in commands]
    codes = [command.returncode for command in commands]
    assert sorted(codes) == [0, 2], said
    stderr = said[codes.index(2)][1]
    assert "protocol.epochs = " in stderr.splitlines()[-1]
    results = gather(out)
    assert results.experiment.protocol.epochs == codes.index(0) + 1
    assert results.runs == (Run("hard_labels", 0),)


# --- caches ---------------------------------------------------------------------------------------


def test_a_cache_is_put_beside_what_the_user_has(place, monkeypatch):
    options = {"cache": "disk", "validation_fraction": 0.3, "test_fraction": 0.3}
    Path("mine", ".hidden.partial").write_text("mine")
    before = tree(place / "mine")
    first = load_dataset("folder:data", cache_dir=str(place / "mine"), **options)
    assert {name: there for name, there in tree(place / "mine").items() if name in before} == before
    again = load_dataset("folder:data", cache_dir=place / "mine", **options)
    np.testing.assert_array_equal(first.train.images[:], again.train.images[:])
    for wrong in ("notes.txt", "notes.txt/x", "/proc/x", "~nobody_of_this_name", "nothing"):
        if wrong == "nothing":
            Path("nothing").symlink_to("not there")
            Path("not there").write_text("mine")
        with pytest.raises(InputError, match=r"dataset\.cache_dir: ") as caught:
            load_dataset("folder:data", cache_dir=wrong, **options)
        assert ".lock" not in str(caught.value)


def test_a_cache_that_cannot_be_written(place, monkeypatch):
    Path("cache").mkdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(
        InputError, match=r"^dataset\.cache_dir: cache cannot be written \(No space"
    ):
        load_dataset("folder:data", cache="disk", cache_dir="cache")
    assert not [*Path("cache").glob(".*")]


def test_the_kinds_are_told_by_their_first_bytes(written):
    assert CALIBRATOR.is_ours(written / "c.json")
    assert not CALIBRATOR.is_ours(written / "nothing")
    assert not CALIBRATOR.is_ours(written)
