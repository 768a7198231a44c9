"""The command line: what it prints, how it fails, and what it does without TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from helpers import DIGITS
from PIL import Image

from lsplus_tf import cli
from lsplus_tf.cli import experiments
from lsplus_tf.datasets.check import check_dataset
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import FailedRunsError, InputError

CONFIG = str(DIGITS)


@pytest.fixture
def refused(call):
    """The one line on standard error of a call that ends with exit code 2."""

    def run(*arguments: str) -> str:
        code, stdout, stderr = call(*arguments)
        assert code == 2
        assert stdout == ""
        assert stderr.startswith("error: ")
        assert stderr.count("\n") == 1
        return stderr.removeprefix("error: ").rstrip()

    return run


def test_methods_are_listed_with_their_settings(call):
    from lsplus_tf.config.methods import METHODS

    code, stdout, stderr = call("methods", columns=80)
    assert (code, stderr) == (0, "")
    for name in METHODS:
        assert f"\n{name}  " in f"\n{stdout}"
    assert "refresh_every" in stdout
    assert "uniform or zeros or label_smoothed" in " ".join(stdout.split())
    assert max(len(line) for line in stdout.splitlines()) <= 80


# --- help -----------------------------------------------------------------------------------------


def test_help_early_errors_and_audits_do_without_tensorflow(tmp_path):
    predictions = tmp_path / "predictions.csv"
    predictions.write_text("label,probability_a\n" + "a,0.9\nb,0.2\nb,0.6\n" * 8)
    script = f"""
        import contextlib, io, sys
        from lsplus_tf import cli
        assert not {{"numpy", "pandas", "scipy"}} & set(sys.modules)
        helps = False
        for arguments, code in (
            (["methods"], 0),
            (["predict", "/nowhere", "/nowhere"], 2),
            (["--help"], 0),
            (["reproduce", "--help"], 0),
            (["train", "--help"], 0),
            (["report", "--help"], 0),
            (["datasets", "--help"], 0),
            (["datasets"], 0),
            (["datasets", "check", "--help"], 0),
            (["datasets", "check", "digits"], 0),
            (["calibrate", "--help"], 0),
            (["predict", "--help"], 0),
            (["export", "--help"], 0),
            (["calibrate", "/nowhere.csv"], 2),
            (["predict", "/nowhere", {CONFIG!r}], 2),
            (["predict", "/nowhere", {CONFIG!r}, "--calibrator", "/nowhere"], 2),
            (["train", {CONFIG!r}, "--set", "protocol.epoch=3"], 2),
            (["train", {CONFIG!r}, "--methods", "none"], 2),
            (["report", "/nowhere"], 2),
            (["audit", {str(predictions)!r}, "--resamples", "200"], 0),
            (["no_such_command"], 2),
        ):
            sys.argv = ["lsplus-tf", *arguments]
            with contextlib.redirect_stdout(io.StringIO()) as out:
                try:
                    cli.main()
                except SystemExit as end:
                    assert end.code == code, (arguments, end.code)
            if "--help" in arguments:
                assert "Usage: lsplus-tf" in out.getvalue()
            assert not {{"tensorflow", "keras"}} & set(sys.modules), arguments
            helps = helps or "--help" in arguments
            assert helps or "rich.markdown" not in sys.modules, arguments  # which only helps need
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True)


def test_help_names_the_options(call):
    for command in ("reproduce", "train"):
        code, stdout, _ = call(command, "--help")
        assert code == 0
        for option in (
            "--data-dir",
            "--out",
            "--set",
            "--methods",
            "--seeds",
            "--shard",
            "--dry-run",
        ):
            assert option in stdout
        assert "Example: lsplus-tf" in stdout


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_of_the_installed_command_is_one_line_and_no_traceback():
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lsplus-tf"), "train", "no.yaml"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: config: no such file no.yaml; ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["reproduce", "train"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "protocol.epoch=3"], "protocol.epoch: unknown key, did you mean 'epochs'?"),
        (["--set", "epochs"], "--set: expected key=value, received 'epochs'"),
        (["--set", "epochs", "3"], "--set: expected key=value, received 'epochs'"),
        (["--seeds", "abc"], "--seeds: expected numbers such as 0,1,2; received 'abc'"),
        (["--seeds", "0,"], "--seeds: expected numbers such as 0,1,2; received '0,'"),
        (["--seeds", "7"], "--seeds: the config has 0, 1, 2; received 7"),
        (["--methods", "hard_labels,mixup"], "--methods: the config has hard_labels, "),
        (["--out", CONFIG], "--out: expected a folder"),
        (["--workers", "0"], "--workers: expected an integer of at least 1, received 0"),
        (["--retries", "-1"], "--retries: expected an integer of at least 0, received -1"),
        (["--shard", "3"], "--shard: expected I/N such as 1/4, received '3'"),
        (["--shard", "3/2"], "--shard: expected I/N with I from 1 to N, received 3/2"),
        (["--address", "auto"], "--address: only --executor ray takes it"),
        (["--cpus-per-run", "2"], "--cpus-per-run: only --executor ray takes it"),
        (["--executor", "ray", "--workers", "2"], "--workers: the Ray cluster decides"),
    ],
)
def test_errors_are_one_line(refused, tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(command, CONFIG, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_report(refused, tmp_path, reproduced):
    assert "not the folder of an experiment" in refused("report", str(tmp_path))
    folder = str(reproduced.folder)
    assert "received mixup" in refused("report", folder, "--methods", "mixup")
    assert "received 2" in refused("report", folder, "--seeds", "2")
    assert "expected numbers" in refused("report", folder, "--seeds", "one")


@pytest.mark.parametrize(
    "arguments", [["train", "x:brain:"], ["datasets", "check", "folder:brain:x"]]
)
def test_colons_in_a_name_are_no_picture(refused, arguments):
    assert ":brain:" in refused(*arguments).replace("\n", "")


def test_square_brackets_in_an_error_are_printed(refused, tmp_path):
    path = tmp_path / "[bold]mine[red].yaml"
    shutil.copy(CONFIG, path)
    message = refused("train", str(path), "--set", "dataset.test_fraction=0.9")
    assert message.startswith(f"{path} with --set ")
    message = refused("train", str(path), "--set", "seeds=[1,1]")
    assert message == "--set seeds=[1,1]: seeds: expected different numbers, received [1, 1]"
    assert "received ['[/red]']" in refused("train", CONFIG, "--set", "protocol.epochs=['[/red]']")


def test_an_error_of_many_lines_is_printed_on_one(refused, monkeypatch):
    def fail(*_):
        raise InputError("first\n  second")

    monkeypatch.setattr("lsplus_tf.config.read_config", fail)
    assert refused("train", CONFIG) == "first second"


def test_a_bug_is_not_dressed_up_as_a_users_mistake(call, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("lsplus_tf.config.read_config", fail)
    code, _, stderr = call("train", CONFIG)
    assert code == 3
    assert stderr.startswith("Traceback")
    assert stderr.endswith("RuntimeError: a bug\n")


def test_warnings_are_one_line_and_keep_their_brackets(capsys):
    cli._print_warning(UserWarning("classes [0] and [/] " + "x" * 200), UserWarning, "file", 1)
    _, stderr = capsys.readouterr()
    assert stderr == "warning: classes [0] and [/] " + "x" * 200 + "\n"


# --- commands -------------------------------------------------------------------------------------


def test_reproduce_tells_of_runs_table_and_files(reproduced):
    lines = reproduced.stdout.splitlines()
    assert lines[0] == "8 runs to make, 0 already finished."
    sizes = "digits: 1077 train, 360 validation, 360 test images of 8x8x1, 10 classes."
    assert lines[1] == sizes
    (first, *_) = (line for line in lines if " finished, " in line)
    assert first.startswith("run 1 of 8: hard_labels, seed 0 finished, validation accuracy 0.")
    # On a slow machine there are lines of runs under way as well.
    assert sum(line.startswith("run ") and " finished, " in line for line in lines) == 8
    assert any("digits, test split" in line for line in lines)
    assert any("ECE ↓" in line for line in lines)
    written = lines[lines.index("Written:") + 1 :]
    assert [line.strip() for line in written] == sorted(
        str(path) for path in (reproduced.folder / "report").iterdir()
    )
    assert "Traceback" not in reproduced.stderr


def test_train_finds_what_is_finished(call, reproduced):
    code, stdout, _ = call("train", *reproduced.arguments, "--methods", " ls_plus , hard_labels")
    assert code == 0
    assert stdout == "0 runs to make, 4 already finished.\n"


def test_train_refuses_other_settings(refused, reproduced):
    message = refused("train", *reproduced.arguments, "--set", "protocol.epochs=5")
    assert "protocol.epochs = 2 where the config says 5" in message


@pytest.mark.usefixtures("linear_network")
def test_what_failed_is_told_at_the_end(call, reproduced, tmp_path):
    code, stdout, stderr = call(
        "reproduce",
        *reproduced.arguments,
        *("--out", str(tmp_path), "--seeds", "0", "--methods", "hard_labels,label_smoothing"),
        *("--set", "protocol.optimizer.learning_rate=1e38"),
    )
    assert code == 2
    assert "run 1 of 2: hard_labels, seed 0 failed: protocol: the training loss became" in stdout
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert line == stderr.splitlines()[-1]
    assert "2 of 2 runs failed: hard_labels seed 0" in line
    assert "lower protocol.optimizer.learning_rate" in line


@pytest.mark.usefixtures("without_pictures")
def test_the_report_of_what_is_finished_comes_before_the_error(
    call, reproduced, tmp_path, monkeypatch
):
    def fail(*_: object) -> None:
        raise FailedRunsError("1 of 9 runs failed")

    monkeypatch.setattr(experiments._Job, "train", fail)
    copy = shutil.copytree(reproduced.folder, tmp_path / "copy")
    arguments = (*reproduced.arguments, "--out", str(copy), "--methods", "hard_labels")
    code, stdout, stderr = call("reproduce", *arguments)
    assert code == 1
    assert "digits, test split" in stdout
    assert stderr == "error: 1 of 9 runs failed\n"


def test_a_shard_that_is_not_the_last_prints_no_table(call, reproduced, tmp_path):
    copy = shutil.copytree(reproduced.folder, tmp_path / "copy")
    shutil.rmtree(copy / "ls_plus" / "seed_1")
    arguments = ["reproduce", *reproduced.arguments, "--out", str(copy), "--shard", "1/2"]
    code, stdout, _ = call(*arguments)
    assert code == 0
    assert "1 run of other shards is not finished" in stdout
    assert "test split" not in stdout


@pytest.mark.usefixtures("without_pictures")
def test_report_narrows(call, reproduced, tmp_path):
    copy = shutil.copytree(reproduced.folder, tmp_path / "[copy]")
    shutil.rmtree(copy / "ls_plus" / "seed_1")
    code, stdout, _ = call("report", str(copy), "--methods", "ls_plus,label_smoothing")
    assert code == 0
    assert "Not finished, and not in the table: ls_plus seed 1\n" in stdout
    selected = copy / "report_selected" / "table.md"
    assert f"  {selected}\n" in stdout
    assert "OLS" not in stdout
    assert "LS+" in stdout
    table = selected.read_text()
    whole = (copy / "report" / "table.md").read_text()
    assert "OLS" in whole  # the report of all runs stays
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    # Hard labels, which LS+ needs, are shown with it.
    assert ["Metric (x100)", "HL", "LS", "LS+"] in rows
    assert ["Seeds", "2", "2", "1"] in rows


def test_the_default_folder_is_named_after_the_experiment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    experiment, out = experiments._read(Path(CONFIG), None, None, ["name=mine"])
    assert out == Path("runs") / "mine"
    assert experiments._read(Path(CONFIG), None, tmp_path, None)[1] == tmp_path
    assert experiment.dataset.data_dir is None


@pytest.mark.parametrize("folder", ["data", "~", "3", "[a]", "a: b", "a=b", 'with "quotes"', "ä"])
def test_any_data_dir_is_taken_as_it_is(folder):
    experiment, _ = experiments._read(Path(CONFIG), Path(folder), None, None)
    assert experiment.dataset.data_dir == Path(folder)


def test_a_missing_data_set_says_where_it_is_to_be(call, tmp_path):
    code, _, stderr = call(
        *("train", CONFIG, "--set", "dataset.name=pneumoniamnist"),
        *("--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")),
    )
    assert code == 2
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert f"put pneumoniamnist.npz into {tmp_path / 'data'}" in stderr
    assert list(tmp_path.iterdir()) == []


def test_datasets_lists_what_is_here(call, tmp_path):
    np.savez(tmp_path / "pneumoniamnist.npz")
    code, stdout, _ = call("datasets", "--data-dir", str(tmp_path))
    assert code == 0
    lines = [line.split(maxsplit=1) for line in stdout.splitlines() if not line.startswith(" ")]
    said = {words[0]: words[1].strip() for words in lines if len(words) == 2}
    assert said["digits"] == said["pneumoniamnist"] == "here"
    assert said["pathmnist"] == "not here"
    for text in ("folder:PATH", "tfds:NAME", "CC BY 4.0", "1797 all"):
        assert text in stdout


def write_image(path: Path, seed: int, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_datasets_check(call, refused, tmp_path):
    for seed in range(40):
        part, class_name = ("train", "test")[seed // 20], "ab"[seed % 2]
        write_image(tmp_path / f"set/{part}/{class_name}/{seed}.png", seed)
    name, out = f"folder:{tmp_path / 'set'}", tmp_path / "problems.csv"
    code, stdout, stderr = call("datasets", "check", name, "--out", str(out), columns=80)
    assert (code, stderr) == (0, "")
    assert "split off from train when the images are loaded: validation" in stdout
    assert "groups, such as patients: none declared\n" in stdout
    assert "width x height: 8x8 (40)\nchannels: grey (40)\n" in stdout
    # Nothing is said of what a folder does not have.
    for other in ("group in several splits", "without a row", "official"):
        assert other not in stdout
    assert "identical to another: none" in stdout
    assert out.read_text() == "problem,split,class,file,other_file,detail\n"
    write_image(tmp_path / "set/test/b/77.png", 0)
    code, stdout, _ = call("datasets", "check", name, "--out", str(out), columns=80)
    assert code == 1
    assert "identical to another: 1" in stdout
    assert "1 group of identical images, 1 of them across splits, 1 across classes" in stdout
    assert out.read_text().splitlines()[1:] == [
        'identical to another,test,b,test/b/77.png,train/a/0.png,"same as train/a/0.png (train, a)"'
    ]
    for file, seed in (("=b/1.png", 1), ("=b/2.png", 1), ("a/3.png", 2)):
        write_image(tmp_path / "named" / file, seed)
    call("datasets", "check", f"folder:{tmp_path / 'named'}", "--out", str(out))
    # What users call folders and files is no formula to a spreadsheet.
    rows = [line.split(",")[:4] for line in out.read_text().splitlines()[1:]]
    assert ["identical to another", "train", "'=b", "'=b/2.png"] in rows
    code, stdout, _ = call("datasets", "check", name, "--group-pattern", "[0-9]+")
    assert "groups, such as patients: 41, with 1 image each\n" in stdout
    assert "group in several splits: none" in stdout
    code, stdout, _ = call("datasets", "check", name, "--group-pattern", "[ab]/")
    assert "groups, such as patients: 2, with 20 to 21 images each\n" in stdout
    assert "  a/: 10 in train, 10 in test" in stdout
    # Two groups are too few to split a third off.
    assert "split that cannot be split off: 1 (training stops)\n  validation_fraction" in stdout
    code, stdout, _ = call("datasets", "check", name, "--group-pattern", "[ab]/0?")
    assert "groups, such as patients: 3, with 1 to 21 images each\n" in stdout
    code, stdout, _ = call("datasets", "check", "digits")
    assert code == 0
    assert "official: 1797 all" in stdout
    assert "expected a folder" in refused("datasets", "check", "folder:nowhere")
    assert "expected after 'check'" in refused("datasets", "--data-dir", ".", "check", "digits")


def test_datasets_check_says_what_stops_a_training(call, tmp_path):
    for seed in range(40):
        write_image(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed)
    (tmp_path / "a/0.png").write_bytes(b"")
    (tmp_path / "a/2.png").write_bytes((tmp_path / "a/4.png").read_bytes())
    Image.new("I;16", (8, 8), 300).save(tmp_path / "b/1.png")
    Image.new("RGBA", (9, 8), "#00f8").save(tmp_path / "b/3.png")
    code, stdout, _ = call("datasets", "check", f"folder:{tmp_path}")
    assert code == 1
    for line in (
        "width x height: 8x8 (38), 9x8 (1) (training needs dataset.image_size)",
        "channels: grey (38), colour (1) (training needs dataset.channels: 1 or 3)",
        "unreadable: 1 (training stops: mend them or set dataset.unreadable=skip)",
        "blank: none",
        "transparent pixels: 1 (training stops: set dataset.background (here --background) to "
        "black or white)",
        "more than 8 bits: 1 (training stops: set dataset.scaling (here --scaling), or convert "
        "them to 8 bits)",
        "8 and more bits mixed: 1 (only those of more than 8 bits are scaled: is a value the same "
        "in both?)",
        "identical to another: 1 (used as they are, unless dataset.drop=[duplicates])",
    ):
        assert f"\n{line}\n" in stdout


def test_datasets_check_of_what_a_drop_leaves(call, refused, tmp_path):
    for seed in range(40):
        write_image(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed)
    write_image(tmp_path / "a/0_mask.png", 50)
    write_image(tmp_path / "b/41.png", 1)
    Image.new("L", (8, 8), 7).save(tmp_path / "b/43.png")
    name = f"folder:{tmp_path}"
    code, stdout, stderr = call("datasets", "check", name, "--drop", "masks,duplicates,blank")
    assert (code, stderr) == (0, "")
    assert "40 images\nleft out by --drop: 1 mask, 1 blank image, 1 duplicate\n" in stdout
    code, stdout, _ = call("datasets", "check", name, "--drop", "blank")
    assert code == 1
    assert "identical to another: 1 (" in stdout
    assert "mask beside its image: 1 (" in stdout
    assert "without a row" not in stdout
    assert "drop.0: expected 'duplicates', " in refused("datasets", "check", name, "--drop", "bad")
    assert "drop: expected none for 'digits'" in refused(
        "datasets", "check", "digits", "--drop", "blank"
    )


def test_datasets_check_says_what_a_training_with_arrays_does(call, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    images[1], images[3] = images[5], 9
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=np.arange(60) % 2)
    code, stdout, _ = call("datasets", "check", f"npz:{tmp_path / 'set.npz'}")
    assert code == 1
    assert "\nblank: 1 (used as they are)\n" in stdout
    assert "\nidentical to another: 1 (used as they are)\n" in stdout


def test_a_scaling_is_declared_on_the_command_line(call, refused, tmp_path):
    for seed in range(40):
        pixels = np.random.default_rng(seed).integers(0, 4096, (8, 8), dtype=np.uint16)
        path = tmp_path / "set" / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    name, out = f"folder:{tmp_path / 'set'}", str(tmp_path / "sheet.png")
    code, stdout, _ = call("datasets", "check", name)
    assert code == 1
    assert "more than 8 bits: 40 (training stops: set dataset.scaling" in stdout
    code, stdout, _ = call("datasets", "check", name, "--scaling", "range=0,4095")
    assert (code, "more than 8 bits: none" in stdout) == (0, True)
    # Outside of the window there is nothing to see.
    _, stdout, _ = call("datasets", "check", name, "--scaling", "window=-200,100")
    assert "blank: 40" in stdout
    code, _, stderr = call("datasets", "show", name, "--out", out, "--scaling", "percentiles=1,99")
    assert (code, stderr) == (0, "")
    for given, said in (
        ("40,400", "--scaling: expected a key and two numbers, as window=40,400, received 40,400"),
        ("window=40,400,3", "--scaling: window: expected two numbers, as [40,400], received 40,"),
        ("window=40,x", "--scaling: window: expected two numbers"),
        ("windows=40,1", "--scaling: windows: unknown key, did you mean 'window'?"),
        ("range=5", "--scaling: range"),
    ):
        assert said in refused("datasets", "check", name, "--scaling", given)


def test_a_narrow_terminal_keeps_class_names(call, tmp_path):
    long = "melanocytic_nevus_with_a_very_long_name_of_the_kind_that_folders_have_" + "x" * 40
    for seed in range(80):
        part, class_name = ("train", "test")[seed // 40], (long, "b")[seed % 2]
        write_image(tmp_path / part / class_name / f"{seed}.png", seed)
    code, stdout, _ = call("datasets", "check", f"folder:{tmp_path}", columns=80)
    assert code == 0
    cells = [line.split("│")[1].strip() for line in stdout.splitlines() if line.count("│") > 2]
    assert long in "".join(cells)


def test_datasets_show(call, refused, tmp_path):
    out = tmp_path / "sheets" / "digits.png"
    code, stdout, stderr = call("datasets", "show", "digits", "--out", str(out), "--count", "3")
    assert (code, stderr) == (0, "")
    assert "digits.png" in stdout
    with Image.open(out) as image:
        assert image.format == "PNG"
        # 10 rows of 3 tiles of 100 pixels, and the names.
        assert 1000 <= image.height < 1100
        assert 300 <= image.width < 600
    assert "split: expected one of" in refused("datasets", "show", "digits", "--split", "dev")
    for seed in range(6):
        write_image(tmp_path / "set" / "ab"[seed % 2] / f"{seed}.png", seed)
    (tmp_path / "set/a/2.png").write_bytes(b"")
    code, _, stderr = call("datasets", "show", f"folder:{tmp_path / 'set'}", "--out", str(out))
    assert code == 0
    assert "left out 1 image that cannot be read: a/2.png (" in stderr


def test_near_copies_are_drawn_on_a_sheet(call, refused, tmp_path):
    root = tmp_path / "set"
    for seed in range(40):
        write_image(root / "ab"[seed % 2] / f"{seed}.png", seed, 40)
    sheet = tmp_path / "near.png"
    code, stdout, _ = call("datasets", "check", f"folder:{root}", "--sheet", str(sheet))
    assert (code, sheet.exists()) == (0, False)
    assert "no near copies to draw: --sheet is not written" in stdout
    with Image.open(root / "a" / "2.png") as image:
        image.resize((80, 80)).save(root / "b" / "copy.png")
    code, stdout, _ = call("datasets", "check", f"folder:{root}", "--sheet", str(sheet))
    assert (code, "near.png" in stdout) == (1, True)
    with Image.open(sheet) as image:
        assert (image.format, 100 <= image.height < 150) == ("PNG", True)
    write_image(tmp_path / "mine.png", 0)
    said = refused("datasets", "check", f"folder:{root}", "--sheet", str(tmp_path / "mine.png"))
    assert "--sheet" in said
    said = refused("datasets", "check", f"folder:{root}", "--sheet", str(root / "a" / "near.png"))
    assert "--sheet" in said


def test_a_table_of_the_images_is_written_once(call, refused, tmp_path):
    root, table = tmp_path / "set", tmp_path / "table.csv"
    for seed in range(40):
        write_image(root / "ab"[seed % 2] / f"{seed}.png", seed, 40)
    with Image.open(root / "a" / "2.png") as image:
        image.resize((80, 80)).save(root / "a" / "copy.png")
    name = f"folder:{root}"
    code, stdout, _ = call("datasets", "check", name, "--table", str(table))
    assert code == 1
    assert f"with dataset.image_folder: {root}" in stdout
    assert table.read_text().splitlines()[:2] == ["path,label,group", "a/0.png,a,a/0.png"]
    assert "a/copy.png,a,a/2.png" in table.read_text()
    code, stdout, _ = call("datasets", "check", f"csv:{table}", "--image-folder", str(root))
    assert (code, "near copy of another: none" in stdout) == (0, True)
    # Headings do not tell it from a table of the user's.
    assert "--table" in refused("datasets", "check", name, "--table", str(table))
    said = refused("datasets", "check", "digits", "--table", str(tmp_path / "new.csv"))
    assert "--table: expected image files, digits has none" in said
    assert not (tmp_path / "new.csv").exists()


def test_datasets_show_of_nothing_that_can_be_read(refused, tmp_path):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("I;16", (8, 8), 300).save(tmp_path / "set" / name / "1.png")
    out = str(tmp_path / "sheet.png")
    said = refused("datasets", "show", f"folder:{tmp_path / 'set'}", "--out", out)
    assert "drew nothing but 2 images that cannot be read: a/1.png (more than 8 bits" in said
    assert said.endswith("give --scaling, as window=40,400, for those of more than 8 bits")


def test_pillow_does_not_warn_of_bytes_in_a_file_that_it_does_not_name(call, tmp_path):
    for seed in range(40):
        write_image(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed)
    cut = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03"
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "photograph.jpg", exif=cut)
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        check_dataset(list_files(f"folder:{tmp_path}"))
    code, _, stderr = call("datasets", "check", f"folder:{tmp_path}")
    assert (code, stderr) == (0, "")


def test_datasets_of_a_table_that_leaves_images_out(call, tmp_path):
    for seed in range(5):
        write_image(tmp_path / f"{seed}.png", seed)
    table = tmp_path / "some.csv"
    table.write_text("path,label\n1.png,a\n2.png,b\n3.png,a\n4.png,b\n", encoding="utf-8")
    code, stdout, _ = call("datasets", "check", f"csv:{table}")
    assert code == 1
    advice = "(training stops: add them or set dataset.unlisted=ignore)"
    assert f"image without a row: 1 {advice}\n  0.png: has no label" in stdout
    code, _, _ = call("datasets", "show", f"csv:{table}", "--out", str(tmp_path / "sheet.png"))
    assert code == 0


def test_a_folder_that_cannot_be_written_is_told_in_a_line(call, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(experiments._Job, "train", full)
    code, _, stderr = call("train", CONFIG, "--out", str(tmp_path))
    assert code == 2
    assert stderr.splitlines() == ["error: somewhere: No space left on device"]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, whose output goes to pipes."""
    return subprocess.run(
        [sys.executable, "-m", "lsplus_tf.cli", *command],
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )


def test_output_is_whole_where_letters_or_the_width_are_missing(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("label,probability_\xe9,probability_\u75c5\n\xe9,0.9,0.1\n", encoding="utf-8")
    done = run(["audit", str(path)], PYTHONIOENCODING="ascii", COLUMNS="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\xe9" in done.stdout
    assert b"\\u75c5" in done.stdout


def test_an_interrupt_before_the_command_runs_is_no_traceback(call, monkeypatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert call("methods") == (130, "", "")
