"""What the pages of results call shown is about methods, and follows from their runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
LS, LS_PLUS, OLS = "label_smoothing", "ls_plus", "online_label_smoothing"
# By page, metric and verdict: what the pages, findings.md and choosing_a_method.md say.
SHOWN = {
    ("pneumoniamnist_all", "worse"): {
        metric: ["uniform_penalty"] for metric in ("ece", "nll", "brier")
    },
}


def program(name: str) -> ModuleType:
    """One of the programs beside the pages."""
    spec = importlib.util.spec_from_file_location(f"results_{name}", RESULTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tests() -> pd.DataFrame:
    return program("methods").tests().reset_index(drop=True)


def test_pages_hold_what_their_files_say():
    for path, text in program("pages").filled().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: python docs/results/pages.py"


def test_the_file_is_what_its_program_writes(tests):
    stored = pd.read_csv(RESULTS / "methods.csv")
    pd.testing.assert_frame_equal(stored, tests, rtol=1e-4, atol=1e-9, check_dtype=False)


def test_what_is_shown(tests):
    found = tests[tests["verdict"] != "undecided"]
    # What a temperature does in brain MRI the pages do not claim.
    left_out = (found["page"] == "brain_tumor_mri") & found["method"].str.endswith("+temperature")
    shown: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in found[~left_out].to_dict("records"):
        of_page = shown.setdefault((row["page"], row["verdict"]), {})
        of_page.setdefault(row["metric"], []).append(row["method"])
    assert shown == SHOWN
