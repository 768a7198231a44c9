"""A model card of an audit: metadata that hubs take, and Markdown that shows what is meant."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from sklearn import metrics as sklearn_metrics

import lsplus_tf as lsp
from lsplus_tf.auditing import model_card, write_model_card
from lsplus_tf.errors import InputError

# How the hub's client finds the metadata in a README.md (huggingface_hub.repocard).
FRONT_MATTER = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")
# https://github.com/huggingface/hub-docs/blob/main/modelcard.md: keys, and whether they must be.
SPECIFICATION: dict[str, Any] = {
    "task": {"type": True, "name": False},
    "dataset": dict.fromkeys(("config", "split", "revision", "args"), False)
    | {"type": True, "name": True},
    "metrics": dict.fromkeys(("name", "config", "args", "verified"), False)
    | {"type": True, "value": True},
}
STRANGE = ("a|b", "<b>_serrated_</b>", "# 1. `x` \\ $y$ [z](w)\n---\n- &amp;")


def predictions_of(samples: int = 200, names=("HP", "SSA", "TA"), **more) -> lsp.Predictions:
    rng = np.random.default_rng(0)
    logits = 1.5 * rng.normal(size=(samples, len(names)))
    rows = lsp.metrics.softmax(logits)
    labels = (rows.cumsum(axis=1) < rng.random((samples, 1))).sum(axis=1).clip(0, len(names) - 1)
    return lsp.Predictions(labels, rows, class_names=names, **more)


def card_of(predictions: lsp.Predictions, **options) -> tuple[dict[str, Any], str]:
    """The metadata and the Markdown of a card."""
    audit = lsp.audit(predictions, num_resamples=20, **options)
    return parted(model_card(audit, dataset="cases", name="a model"))


def parted(card: str) -> tuple[dict[str, Any], str]:
    found = FRONT_MATTER.match(card)
    assert found is not None
    return yaml.safe_load(found[2]), card[found.end() :]


def check(values: Any, allowed: dict[str, bool]) -> None:
    assert {key for key, needed in allowed.items() if needed} <= values.keys() <= allowed.keys()


@pytest.mark.parametrize(
    "predictions",
    [
        predictions_of(),
        predictions_of(names=STRANGE),
        predictions_of(10),  # too few for much
        predictions_of(names=("no", "yes")),
        predictions_of(groups=np.arange(200) // 3, subgroups={"site": ["York", "Leeds"] * 100}),
        lsp.Predictions([0, 1] * 50, predicted=[0, 0] * 50, confidence=[0.9, 0.8] * 50),
        lsp.Predictions([0] * 50, [[0.9, 0.1]] * 50),  # the AUROC is not defined
    ],
    ids=["usual", "strange", "few", "two", "groups", "confidence", "one class"],
)
def test_the_metadata_are_as_the_hub_specifies_them(predictions: lsp.Predictions):
    metadata, _ = card_of(predictions)
    (model,) = metadata["model-index"]
    assert (metadata.keys(), model.keys(), model["name"]) == (
        {"model-index"},
        {"name", "results"},
        "a model",
    )
    (result,) = model["results"]
    assert result.keys() == SPECIFICATION.keys()
    check(result["task"], SPECIFICATION["task"])
    check(result["dataset"], SPECIFICATION["dataset"])
    assert len(result["metrics"]) > 3
    for metric in result["metrics"]:
        check(metric, SPECIFICATION["metrics"])
        assert isinstance(metric["value"], float)
        assert np.isfinite(metric["value"])
        assert {type(metric["type"]), type(metric["name"])} == {str}
    kinds = [metric["type"] for metric in result["metrics"]]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("names", [("HP", "SSA", "TA"), ("no", "yes")], ids=len)
def test_what_has_a_hubs_name_is_that_number(names: tuple[str, ...]):
    """The hub's metrics of these names are scikit-learn's, with these arguments."""
    predictions = predictions_of(names=names)
    labels, rows = predictions.labels, predictions.probabilities
    of_auroc = rows if len(names) > 2 else rows[:, 1]
    theirs = {
        "accuracy": lambda **k: sklearn_metrics.accuracy_score(labels, rows.argmax(axis=1), **k),
        "f1": lambda **k: sklearn_metrics.f1_score(labels, rows.argmax(axis=1), **k),
        "recall": lambda **k: sklearn_metrics.recall_score(labels, rows.argmax(axis=1), **k),
        "precision": lambda **k: sklearn_metrics.precision_score(labels, rows.argmax(axis=1), **k),
        "roc_auc": lambda **k: sklearn_metrics.roc_auc_score(labels, of_auroc, **k),
    }
    metadata, _ = card_of(predictions)
    listed = {m["type"]: m for m in metadata["model-index"][0]["results"][0]["metrics"]}
    assert theirs.keys() <= listed.keys()
    for kind, function in theirs.items():
        expected = function(**listed[kind].get("args", {}))
        assert listed[kind]["value"] == pytest.approx(expected, abs=1e-6), kind
    assert "brier_score" not in listed  # theirs is half of ours


@pytest.mark.parametrize("names", [("HP", "SSA", "TA"), STRANGE], ids=["usual", "strange"])
def test_the_tables_show_values_names_and_intervals(names: tuple[str, ...]):
    predictions = predictions_of(names=names)
    _, text = card_of(predictions, positive=[0])
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    cells = [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", html, flags=re.S)
    ]
    escaped = [
        " ".join(n.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for n in names
    ]
    shown = {row[0] for row in cells}
    assert set(escaped) <= shown
    accuracy = next(row for row in cells if row[0] == "Accuracy")
    assert accuracy[1] == f"{predictions.correct.mean():.1%}"
    assert re.fullmatch(r"\d+\.\d% to \d+\.\d%", accuracy[2])
    assert re.findall(r"<h(\d)>", html) == ["2", *"333333"]
    assert not re.search(r"<(b|em|a|code|hr)\b", html)  # of names
    # What was found, and what it is not.
    (found,) = re.findall(r"What was found</h3>\s*<ul>(.*?)</ul>", html, flags=re.S)
    assert found.count("<li>") > 5
    assert "this hospital" in html


def test_a_card_replaces_an_earlier_one_and_nothing_else(tmp_path):
    result = lsp.audit(predictions_of(), num_resamples=20)
    path = tmp_path / "README.md"
    assert write_model_card(result, path, dataset="cases") == path
    metadata, _ = parted(path.read_text(encoding="utf-8"))
    assert metadata["model-index"][0]["results"][0]["dataset"]["name"] == "cases"
    write_model_card(result, path, dataset="others")
    path.write_text("---\nlicense: mit\n---\n# Mine\n")
    with pytest.raises(InputError, match=r"^file: "):
        write_model_card(result, path, dataset="cases")
    assert "# Mine" in path.read_text()


@pytest.mark.parametrize("option", ["dataset", "name", "task"])
@pytest.mark.parametrize("wrong", ["", " ", 3])
def test_names_are_names(option: str, wrong: object):
    result = lsp.audit(predictions_of(), num_resamples=20)
    with pytest.raises(InputError, match=f"^{option}: expected a name, received"):
        model_card(result, **{"dataset": "cases", option: wrong})


def test_the_command_line_writes_one(call, tmp_path):
    found = predictions_of()
    np.savez(tmp_path / "mine.npz", probabilities=found.probabilities, labels=found.labels)
    file, card = tmp_path / "mine.npz", tmp_path / "README.md"
    code, stdout, stderr = call(
        "audit", file, "--resamples", "200", "--model-card", card, "--dataset", "Leeds: 2024"
    )
    assert (code, stderr) == (0, "")
    assert f"Written: {card}" in stdout
    metadata, _ = parted(card.read_text(encoding="utf-8"))
    (model,) = metadata["model-index"]
    assert (model["name"], model["results"][0]["dataset"]["name"]) == ("mine.npz", "Leeds: 2024")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model-card", "README.md"], "--model-card: expected --dataset NAME beside it"),
        (["--dataset", "cases"], "--dataset: expected --model-card FILE beside it"),
        (["--model-name", "mine"], "--model-name: expected --model-card FILE beside it"),
        (["--model-card", "mine.npz", "--dataset", "cases"], "--model-card: "),
    ],
)
def test_what_belongs_together_is_asked_for(call, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", probabilities=[[0.9, 0.1]], labels=[0])
    code, stdout, stderr = call("audit", "mine.npz", *options)
    assert (code, stdout) == (2, "")
    assert said in " ".join(stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]
