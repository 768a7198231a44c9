"""No name that is printed can steer a terminal, whatever command prints it."""

from __future__ import annotations

import io
import os
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import experiment_with, made_up_runs
from PIL import Image
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from lsplus_tf.cli.console import EscapingConsole, printable
from lsplus_tf.page import Page
from lsplus_tf.results import report

# The title of the window, colours, the begin of the line, right to left, C1's CSI, and a byte of a
# file's name that is no UTF-8.
HOSTILE = ("\x1b]0;x\x07", "\x1b[31m", "\r", "\u202e", "\x9b31m", "\udcff", "\x00", "\u2028")
IN_NAMES = [each for each in HOSTILE if each not in ("\x00",)]
IN_TEXT = [each for each in HOSTILE if each not in ("\r", "\udcff", "\x00", "\u2028")]
NAME = "".join(IN_NAMES)
CLASS = "a" + "".join(IN_TEXT)


def assert_harmless(*texts: str) -> None:
    for text in texts:
        steering = {
            c for c in text if not c.isprintable() and c != "\n" and unicodedata.category(c) != "Zs"
        }
        assert steering == set(), text


@pytest.fixture
def harmless(call):
    """Call a command: what it prints steers nothing, and shows an escape if it was given one."""

    def run(*arguments: object, code: int | tuple[int, ...] = 0, shows: str = "x1b") -> str:
        called = call(*arguments, columns=300)
        said = called.stdout + called.stderr
        assert called.code in (code if isinstance(code, tuple) else (code,)), said
        assert_harmless(said)
        assert shows in said
        return said

    return run


def test_what_is_printed_is_escaped():
    assert printable("Größe, 病变 \xa0 →\n") == "Größe, 病变 \xa0 →\n"
    assert printable("\x1b[31m\r\t\u202e\x9b\udcff") == "\\x1b[31m\\r\\t\\u202e\\x9b\\udcff"


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_every_way_to_print(name):
    """On a terminal, where Rich's own codes are as they were."""

    def printed(name: str) -> str:
        console = EscapingConsole(
            file=io.StringIO(), force_terminal=True, width=60, highlight=False
        )
        table = Table("name", title=f"of {name}", caption=Text(name))
        table.add_row(name)
        table.add_row(Text(name, style="red"))
        console.print(f"[red]{name}[/]", name, Text(name), table)
        console.print(name, markup=False, soft_wrap=True)
        with Progress(TextColumn("{task.description}"), console=console) as progress:
            progress.add_task(name)
        return console.file.getvalue()  # type: ignore[attr-defined]

    harmless, hostile = printed("name"), printed(name)
    left = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", hostile)
    assert "\x1b" not in left
    assert hostile.count("\x1b[31m") == harmless.count("\x1b[31m")
    assert not {*"\x07\u202e\x9b\udcff\x00\u2028"} & {*left}


def test_a_table_has_room_for_what_is_escaped():
    console = EscapingConsole(file=io.StringIO(), width=60)
    table = Table("name", "more")
    table.add_row("\x1b[31m" * 3, "x")
    console.print(table)
    widths = {len(line) for line in console.file.getvalue().splitlines()[:2]}
    assert len(widths) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (f"--{NAME}",),
        (f"x{NAME}",),
        ("audit", f"x{NAME}.csv"),
        ("audit", "x.csv", f"--{NAME}"),
        ("audit", "x.csv", "--resamples", NAME),
        ("train", f"x{NAME}"),
        ("train", "digits", "--set", f"{NAME}=1"),
        ("train", "digits", "--set", f"protocol.epochs={NAME}"),
        ("train", "digits", "--methods", NAME),
        ("datasets", NAME),
        ("datasets", "check", f"folder:x{NAME}"),
        ("methods", NAME),
        ("report", f"x{NAME}"),
        ("calibrate", f"x{NAME}.csv"),
        ("predict", "x.keras", f"x{NAME}.png"),
    ],
    ids=lambda arguments: ascii(arguments)[:30],
)
def test_errors(harmless, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    # Typer does not say what it received in place of a number.
    harmless(*arguments, code=2, shows="" if "--resamples" in arguments else "x1b")


def test_a_config(harmless, tmp_path):
    for number, values in enumerate(
        ({CLASS: 1}, {"name": CLASS}, {"dataset": {"name": CLASS}}, {"methods": {CLASS: 1}})
    ):
        file = tmp_path / f"{number}{CLASS}.yaml"
        file.write_text(yaml.safe_dump(values))
        harmless("train", file, code=2)


def test_an_audit_and_a_calibrator(harmless, tmp_path):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200)
    truth = np.where(rng.uniform(size=200) < p, CLASS, "b")
    ids = [f"{CLASS}{i}" for i in range(200)]
    frame = pd.DataFrame({"id": ids, "label": truth, f"probability_{CLASS}": p})
    frame["probability_b"] = 1 - p
    file = os.fsdecode(os.fsencode(tmp_path / f"x{NAME}.csv"))
    frame.to_csv(file, index=False)
    said = harmless("audit", file, "--out", tmp_path / f"out{CLASS}", "--resamples", "200")
    assert "\\u202e" in said
    harmless("calibrate", file, "--out", tmp_path / f"c{CLASS}.json")
    frame.loc[3, "label"] = f"{CLASS}c"
    frame.to_csv(file, index=False)
    harmless("audit", file, code=2)


def test_images(harmless, tmp_path):
    rng = np.random.default_rng(0)
    for name in (CLASS, "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}{CLASS}.png")
    (tmp_path / "images" / "b" / f"broken{CLASS}.png").write_bytes(b"x")
    data = f"folder:{tmp_path / 'images'}"
    harmless("datasets", "check", data, "--out", tmp_path / f"f{CLASS}.csv", code=(0, 1))
    assert f"broken{CLASS}.png" in (tmp_path / f"f{CLASS}.csv").read_text("utf-8")  # as it is
    harmless("datasets", "show", data, "--out", tmp_path / f"s{CLASS}.png", code=(0, 2))


def test_a_report(harmless, tmp_path, monkeypatch):
    names = [f"{CLASS}0", "b", "c"]
    made_up_runs(experiment_with("seeds=[0]"), tmp_path / "runs", 3, names, [f"{CLASS}.png"])
    monkeypatch.setattr(report, "draw_figures", lambda *_: {})
    monkeypatch.setattr(report, "experiment_page", lambda *_: Page("Runs", []))
    out = tmp_path / f"runs{CLASS}"
    (tmp_path / "runs").rename(out)
    harmless("report", out)
