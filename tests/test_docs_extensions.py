"""What the documentation's own extensions make of the schema and of the site."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from helpers import ROOT
from pydantic import Field

from lsplus_tf.config.settings import Count, Fraction, Positive, Settings

sys.path.insert(0, str(ROOT / "docs"))
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

import checks
import reference


class Inner(Settings):
    """What is
    below."""

    size: Count | None = Field(default=None, description="how large")


class Outer(Settings):
    """Everything."""

    share: Fraction = 0.5
    kind: Literal["a", "b"] = "a"
    steps: tuple[Positive, ...] = Field(default=(1.0, 2.0), min_length=1)
    angle: Annotated[float, Field(ge=0, lt=90)]
    inner: Inner = Inner()
    names: dict[str, Inner] = Field(default={})


def test_a_schema_in_words():
    text = "\n".join(reference._sections("", (Outer,)))
    assert "## The whole\n\nEverything." in text
    assert "| `share` | number > 0, < 1 | `0.5` |  |" in text
    assert "| `kind` | `a`, `b` | `a` |  |" in text
    assert "| `steps` | list of number > 0 (at least one) | `[1.0, 2.0]` |  |" in text
    assert "| `angle` | number >= 0, < 90 | *required* |  |" in text
    assert "| `inner` | a section | see there |  |" in text
    assert "## `inner`\n\nWhat is below." in text
    assert "## `names.NAME`" in text
    assert "| `size` | integer > 0 or null | `null` | how large |" in text


def test_the_schema_of_configs_has_every_section():
    text = reference.config_reference()
    for title in (
        "## `dataset.phantom`",
        "## `protocol.optimizer` with `name: sgd`",
        "## `methods.NAME` with `loss: ls_plus`",
        "## `methods.NAME.class_accuracy`",
    ):
        assert title in text
    assert (
        "| `convention` | `standard`, `released_code` | `standard` | the paper's text, or" in text
    )
    assert "| `class_accuracy` | a section or list of number >= 0, <= 1 | see there |" in text
    assert "| `schedule` | a section or null | `null` |" in text
    assert "| `optimizer` | a section | see there |" in text


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.org/x.js"></script>', True),
        ('<link rel="stylesheet" href="//cdn.org/x.css">', True),
        ('<a href="https://keras.io">Keras</a> <script src="_static/x.js"></script>', False),
        ("<style>@import 'x'</style>", True),
    ],
)
def test_what_needs_a_network_is_found(tmp_path: Path, html: str, found: bool):
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    assert bool(list(checks.fetched(tmp_path))) == found


def test_a_name_without_a_page_is_found():
    modules = checks.public_modules()
    assert {"lsplus_tf.losses", "lsplus_tf.metrics.keras", "lsplus_tf.priors"} <= set(modules)
    missing = set(checks.undocumented(set()))
    assert {"lsplus_tf.losses.LSPlusLoss", "lsplus_tf.priors.informed_prior"} <= missing
    assert "lsplus_tf.priors.ArrayLike" not in missing


def test_every_public_class_and_function_has_an_example():
    described = {
        name: inspect.getdoc(what) or ""
        for name, what in checks.public_names()
        if inspect.isclass(what) or inspect.isfunction(what)
    }
    assert len(described) > 100
    assert [name for name, text in described.items() if ">>> " not in text] == []
