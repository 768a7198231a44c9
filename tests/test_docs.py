"""What README and documentation show runs, and what they link to exists.

Every fenced block of every page is dealt with by its language: Python is executed, page by page
from top to bottom; `>>>` is a doctest; a shell's commands are parsed by what they call; YAML is a
config, or a part of one. A block that cannot be tried here says so in the line above it,
`<!-- not run: why -->`.
"""

from __future__ import annotations

import configparser
import contextlib
import doctest
import importlib.util
import inspect
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
import typer
from helpers import ROOT

import lsplus_tf as lsp
from lsplus_tf import cli
from lsplus_tf.bounded import yaml_of
from lsplus_tf.config import Grid, load_grid, packaged_configs, parse_config, read_config
from lsplus_tf.config.loading import merged, read_yaml
from lsplus_tf.config.methods import METHODS
from lsplus_tf.errors import InputError

COPIED = ROOT / "docs" / "notebooks"  # by the documentation's build
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "notebooks/*.md", "benchmarks/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
    if COPIED not in path.parents
)
BLOCK = re.compile(r"^(?P<above>[^\n]*)\n+```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
NOT_RUN = re.compile(r"<!-- not run: .+ -->$")
ELSEWHERE = {
    "audit.md": "test_docs_audit.py",
    "calibration.md": "test_docs_calibration.py",
    "command_line.md": "test_tracking.py",
    "multi_gpu.md": "test_devices.py",
}
SHELL = {"sh", "bash"}
SHOWN = {"", "text"}  # outputs, and directives, whose language is {name}

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


class Block(NamedTuple):
    page: Path
    language: str
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    for match in BLOCK.finditer("\n" + page.read_text(encoding="utf-8")):
        if not NOT_RUN.match(match["above"]):
            yield Block(page, match["language"].strip(), match["text"])


def name(value: object) -> str | None:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else None


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def pages_with(*languages: str) -> pytest.MarkDecorator:
    there = dict.fromkeys(block.page for block in BLOCKS if block.language in languages)
    return pytest.mark.parametrize("page", there, ids=name)


def test_every_block_is_dealt_with():
    known = {"python", "pycon", "yaml", "json"} | SHELL | SHOWN
    other = {(name(b.page), b.language) for b in BLOCKS if not b.language.startswith("{")}
    assert {(page, language) for page, language in other if language not in known} == set()
    assert len(PAGES) > 30
    # None is taken for the text above another.
    fences = sum(len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.M)) for page in PAGES)
    not_run = sum(len(re.findall(r"^<!-- not run", p.read_text("utf-8"), re.M)) for p in PAGES)
    assert len(BLOCKS) == fences / 2 - not_run


# --- Python --------------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What stands for the reader's own: models, arrays of three classes, and a run."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6))

    def build_model() -> keras.Model:
        model = keras.Sequential([keras.Input([6]), keras.layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    given: dict[str, Any] = {"build_model": build_model, "model": build_model()}
    for split in ("train", "val", "test"):
        y = np.arange(30) % 3
        x = centres[y] + 0.3 * rng.normal(size=(30, 6))
        given[f"x_{split}"], given[f"y_{split}"] = x.astype(np.float32), y
    given["run"], given["other_model"] = tmp_path, build_model()
    network = lsp.backbones.build_classifier("small_residual_cnn", (8, 8, 1), 3, width=0.1)
    network.save(tmp_path / "model.keras")
    return given


@pages_with("python")
def test_python_runs_from_top_to_bottom(page: Path, names: dict[str, Any]):
    if page.name in ELSEWHERE:
        pytest.skip(f"{ELSEWHERE[page.name]} runs it, with its commands")
    for block in blocks_of(page):
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
    plt.close("all")


def test_the_gallery_has_every_figure():
    """The lines that draw it, and the picture that they make; and no other pictures."""
    page = ROOT / "docs" / "gallery.md"
    text = "".join(block.text for block in blocks_of(page))
    functions = [name for name in lsp.plots.__all__ if inspect.isfunction(vars(lsp.plots)[name])]
    assert [name for name in functions if f"lsp.plots.{name}(" not in text] == []
    drawn = re.findall(
        r"^```\n\n!\[.+\]\((pictures/gallery/.+\.png)\)$", page.read_text("utf-8"), re.M
    )
    there = [str(path.relative_to(page.parent)) for path in page.parent.glob("pictures/gallery/*")]
    assert sorted(drawn) == sorted(there)
    assert len(drawn) >= len(functions)


def test_a_step_of_ones_own_reports_its_loss(names: dict[str, Any]):
    """Keras reports what it keeps as the loss, whatever a step returns by that name."""
    (block,) = (b for b in BLOCKS if b.page.name == "keras.md" and "class Mine" in b.text)
    exec(compile(block.text, "keras.md", "exec"), names)
    mine, history = names["mine"], names["mine"].history.history
    for name in ("loss", "val_loss"):
        assert len(history[name]) == 2
        assert min(history[name]) > 0
    # The mean over all samples, of which the last batch has fewer.
    found = mine.evaluate(names["x_val"], names["y_val"], batch_size=7, verbose=0)
    expected = mine.loss(names["y_val"], mine.predict(names["x_val"], verbose=0))
    assert found == pytest.approx(float(expected), rel=1e-5)


@pages_with("pycon")
def test_examples_give_what_is_shown(page: Path):
    if page.name == "errata.md":
        pytest.skip("test_errata.py runs them, entry by entry")
    text = "\n".join(block.text for block in blocks_of(page) if block.language == "pycon")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert not report, "".join(report)


# --- configs -------------------------------------------------------------------------------------


@pages_with("yaml")
def test_yaml_is_a_config_or_a_part_of_one(page: Path, tmp_path: Path):
    for block in blocks_of(page):
        if block.language == "yaml":
            values = yaml_of(block.text)
            if "grid" in values:
                path = tmp_path / "grid.yaml"
                path.write_text(block.text, encoding="utf-8")
                load_grid(path)
                continue
            if "name" not in values:
                # Of a pretrained network, which can be fine-tuned.
                base = read_yaml(packaged_configs()["chest_xray_3"])
                values = merged(base, values)
            parse_config(values, name(page) or "")


@pages_with("json")
def test_json_is_json(page: Path):
    for block in blocks_of(page):
        if block.language == "json":
            json.loads(block.text)


# --- commands ------------------------------------------------------------------------------------

HARMLESS = {"cd", "export", "flock", "git", "mkdir", "ray", "source"}


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block of shell, as lists of words without assignments before them."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.commenters, lexer.whitespace_split = "#", True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                while words and re.match(r"\w+=", words[0]):
                    del words[0]
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def check_command(words: list[str]) -> None:
    """Fail unless the command is one that exists, with options that it has."""
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "lsplus-tf":
        check_lsplus_tf(arguments)
    elif program == "srun":
        check_command(arguments)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(filter(lambda word: "=" not in word, arguments)) <= set(targets), words
    elif program.startswith("python"):
        if arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), words
        else:
            in_exports = ROOT / "lsplus_tf" / "deployment" / Path(arguments[0]).name
            assert (ROOT / arguments[0]).is_file() or in_exports.is_file(), words
    elif program == "pip":
        assert arguments[0] == "install", words
        extras = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
        assert {e for each in extras for e in each.split(",")} <= set(extras_of_setup()), words
    else:
        assert program in HARMLESS, f"not known how to check {words}"


def extras_of_setup() -> dict[str, str]:
    return dict(SETUP["options.extras_require"])


def check_lsplus_tf(arguments: list[str]) -> None:
    """Parse by the command line itself, and read the config that is named, with its changes."""
    command, context = typer.main.get_command(cli.app), None
    if "--help" in arguments or arguments in (["methods"], ["datasets"]):
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as ended:
            command.main(arguments, "lsplus-tf")
        assert ended.value.code == 0
        return
    rest = list(arguments)
    while True:
        try:
            context = command.make_context(command.name or "lsplus-tf", rest, parent=context)
            rest = [*getattr(context, "_protected_args", ()), *context.args]
            if not rest or not hasattr(command, "resolve_command"):
                break
            _, command, rest = command.resolve_command(context, rest)
        except Exception as error:
            # Typer has click's exceptions, of its own or click's module by its version.
            if hasattr(error, "format_message"):
                pytest.fail(error.format_message())
            raise
    given = context.params
    if "overrides" in given and "config" in given:
        config = Path(given["config"])
        if config == Path("CONFIG") or (config.suffix and config.parts[0] != "configs"):
            return  # the reader's own
        path = ROOT / config if config.suffix else config
        found = read_config(path, given["overrides"] or ())
        if isinstance(found, Grid):
            found = found.only(given["only"] and given["only"].split(","))
            methods = {name for each in found.experiments.values() for name in each.methods}
        else:
            methods = set(found.methods)
        chosen = (given.get("methods") or "").split(",")
        assert set(filter(None, chosen)) <= methods, arguments


@pages_with(*SHELL)
def test_commands_exist_with_their_options(page: Path):
    for block in blocks_of(page):
        if block.language in SHELL:
            for words in commands(block.text):
                check_command(words)


@pytest.mark.parametrize(
    "text",
    [
        "lsplus-tf reproduce configs/nothing.yaml",
        "lsplus-tf reproduce digits --set protocol.epoch=3",
        "lsplus-tf train digits --methods nothing",
        "lsplus-tf nothing",
        "lsplus-tf datasets check NAME --nothing",
        "make nothing",
        "cd x && python nothing.py",
        "pip install '.[nothing]'",
        "nothing --at all",
    ],
)
def test_wrong_commands_would_be_noticed(text: str):
    for words in commands("A=1 make test"):
        check_command(words)
    *before, wrong = commands(text)
    for words in before:
        check_command(words)
    with pytest.raises((AssertionError, InputError, pytest.fail.Exception), match=r"nothing|epoch"):
        check_command(wrong)


# --- costs ---------------------------------------------------------------------------------------


def test_the_costs_are_of_what_the_commands_make(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    planned = importlib.import_module("estimate_cost").planned()
    page = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (LS\+|OLS) \| (\w+) \| (\w+) \| (\d+) \| ([\d,]+) \|", page, re.M)
    assert rows == [
        (p.paper, p.experiment.dataset.name, p.network[0], str(p.runs), f"{p.steps:,}")
        for p in planned
    ]
    for paper in ("LS+", "OLS"):
        runs = sum(p.runs for p in planned if p.paper == paper)
        steps = sum(p.runs * p.steps for p in planned if p.paper == paper)
        assert f"{paper}: {runs} runs, {steps:,} steps" in page


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_links_to_exists(page: Path):
    text = re.sub(
        r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [
        link
        for link in links
        if link
        and "://" not in link
        and not (page.parent / link).exists()
        # Pages that the documentation's build copies.
        and not (ROOT / link).is_file()
        and link.partition("/")[0] != "notebooks"
    ]
    assert missing == []


# --- completeness --------------------------------------------------------------------------------


def test_every_dependency_has_its_reason():
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    always, extras = page.split("## Extras")

    def required(lines: str) -> set[str]:
        entries = [line for line in lines.split("\n") if line and not line.startswith("#")]
        return {re.split(r"[<>=!~ ]", entry)[0] for entry in entries}

    assert set(re.findall(r"^\| `([^`]+)` \|", always, re.M)) == required(
        SETUP["options"]["install_requires"]
    )
    listed = {
        (extra, package)
        for extra, packages in re.findall(r"^\| `(\w+)` \| (`.+?`) \|", extras, re.M)
        for package in re.findall(r"`([^`]+)`", packages)
    }
    assert listed == {
        (extra, package)
        for extra, lines in extras_of_setup().items()
        for package in required(lines)
    }


def test_what_is_imported_is_required():
    required = re.findall(
        r"^([\w.-]+)", SETUP["options"]["install_requires"].replace("-", "_"), re.M
    )
    modules = {"pillow": "PIL", "pyyaml": "yaml", "scikit_learn": "sklearn"}
    known = {modules.get(package, package) for package in required} | {
        "lsplus_tf",
        "onnx",
        "onnxruntime",
        "pydicom",
        "ray",
        "safetensors",
        "tf2onnx",
    }
    imported = {
        (path.name, module)
        for path in (ROOT / "lsplus_tf").rglob("*.py")
        for module in re.findall(
            r"^\s*(?:import|from) (\w+)[\w.]*(?: import .+| as \w+)?$",
            path.read_text(encoding="utf-8"),
            re.M,
        )
    }
    assert {(p, m) for p, m in imported if m not in known | sys.stdlib_module_names} == set()


def test_the_references_name_every_method_and_metric():
    methods = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    metrics = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    missing = {n for n in [*METHODS, *lsp.losses.__all__] if f"`{n}`" not in methods}
    assert missing == {"with_features", "with_teacher_logits"}
    functions = {n for n in lsp.metrics.__all__ if n[0].islower()}
    assert {n for n in functions if f"`{n}`" not in metrics} == {"softmax"}
