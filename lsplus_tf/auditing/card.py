"""An audit as the evaluation part of a model card: Markdown with `model-index` metadata.

The metadata are as the Hugging Face hub reads them
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md): what the model was evaluated on,
and each metric's value. They have no place for an interval, which the tables below them have.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from lsplus_tf.auditing import shown
from lsplus_tf.auditing.measured import Audit
from lsplus_tf.auditing.verdicts import METRIC_NAMES, verdict
from lsplus_tf.bounded import yaml_text
from lsplus_tf.errors import InputError, some_of
from lsplus_tf.files import FileKind, begins_with, expanded, writing
from lsplus_tf.metrics import METRICS
from lsplus_tf.page import Table
from lsplus_tf.version import __version__

_HEAD = "---\n# The evaluation part of a model card, by lsplus_tf "
MODEL_CARD = FileKind("a model card of an audit", begins_with(re.escape(_HEAD).encode()), ".md")

# What hubs call a metric, where it is the same number. Others keep their key: the Brier score, as
# theirs is of two classes and half of ours.
_MACRO = {"average": "macro"}
_ON_HUBS: dict[str, tuple[str, dict[str, str]]] = {
    "accuracy": ("accuracy", {}),
    "precision": ("precision", _MACRO),
    "recall": ("recall", _MACRO),
    "f1": ("f1", _MACRO),
    "auroc": ("roc_auc", {"average": "macro", "multi_class": "ovr"}),
}
_MARKUP = re.compile(r"([\\`*_\[\]<>|~$&])")
_LIST = re.compile(r"^(\d*)([-=+#.)])(?=[-=#\s]|$)")  # or a heading, where a line begins so


def model_card(
    audit: Audit, *, dataset: str, name: str | None = None, task: str = "image-classification"
) -> str:
    """The evaluation part of a model card, for a model hub's `README.md`.

    Parameters
    ----------
    audit : Audit
    dataset : str
        What the cases are, such as "HAM10000, test split"; or the data set's name on the hub.
    name : str, optional
        The model's; by default its file of predictions.
    task : str
        As hubs call it, such as "image-classification" or "tabular-classification".

    Returns
    -------
    str
        YAML between lines of `---`, whose `model-index` has the value of each metric that is
        defined, as fractions; then Markdown: the verdict, the tables with intervals, how they were
        made, and what they are not.

    Raises
    ------
    InputError
        A name without letters.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> card = model_card(lsp.audit(predictions), dataset="coins", name="always heads")
    >>> print(*card.splitlines()[2:15], sep="\\n")
    model-index:
    - name: always heads
      results:
      - task:
          type: image-classification
        dataset:
          type: coins
          name: coins
        metrics:
        - type: accuracy
          value: 0.5
          name: Accuracy
        - type: roc_auc
    """
    name = audit.predictions.name if name is None else name
    for argument, given in (("dataset", dataset), ("name", name), ("task", task)):
        if not isinstance(given, str) or not given.strip():
            raise InputError(f"{argument}: expected a name, received {given!r}")
    about = {"type": dataset, "name": dataset}
    result = {"task": {"type": task}, "dataset": about, "metrics": _metrics(audit)}
    index = {"model-index": [{"name": name, "results": [result]}]}
    return f"{_HEAD}{__version__}\n{yaml_text(index)}---\n\n{_body(audit, name, dataset)}"


def write_model_card(
    audit: Audit,
    file: str | Path,
    *,
    dataset: str,
    name: str | None = None,
    task: str = "image-classification",
) -> Path:
    """Write what :func:`model_card` makes into a file.

    Parameters
    ----------
    audit : Audit
    file : str or Path
        Such as `model/README.md`.
    dataset, name, task : str
        As in :func:`model_card`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        The file is something else than an earlier card of an audit, which would be replaced, or
        cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> path = write_model_card(result, Path(tempfile.mkdtemp(), "README.md"), dataset="coins")
    >>> path.name
    'README.md'
    """
    text = model_card(audit, dataset=dataset, name=name, task=task)
    with writing(file, MODEL_CARD, argument="file") as new:
        new.write_text(text, encoding="utf-8")
    return expanded(file)


def _metrics(audit: Audit) -> list[dict[str, Any]]:
    """Each metric that is defined; not what another tells already."""
    found = []
    classes = len(audit.predictions.class_names)
    for key, value in audit.metrics["value"].items():
        known = METRICS.get(str(key))
        if key == "top1_error" or known is None or known.fewest_classes > classes:
            continue
        if not math.isfinite(value):
            continue
        kind, arguments = _ON_HUBS.get(str(key), (str(key), {}))
        one = {"type": kind, "value": round(float(value), 6), "name": METRIC_NAMES[str(key)]}
        found.append(one | ({"args": dict(arguments)} if arguments else {}))
    return found


def _body(audit: Audit, name: str, dataset: str) -> str:
    predictions = audit.predictions
    groups = "" if predictions.groups is None else f" of {predictions.groups.max() + 1:,} groups"
    classes = some_of(predictions.class_names, 8)
    parts = [
        f"## Evaluation of {_text(name)}",
        _text(
            f"On {dataset}: {len(predictions):,} cases{groups}, "
            f"{len(predictions.class_names)} classes: {classes}. In brackets, and in columns of "
            "that name, are 95% intervals."
        ),
        "### What was found",
        "\n".join(f"- {_text(finding.text)}" for finding in verdict(audit)),
        "### Metrics",
        _table(shown.metrics_table(audit)),
        _text(shown.about_metrics(audit)),
        "### Each class",
        _table(shown.classes_table(audit)),
    ]
    if audit.classes.operating is not None:
        parts += [
            _table(shown.operating_table(audit.classes.operating)),
            _text(shown.about_operating(audit.classes.operating)),
        ]
    parts += ["### Predicted classes and subgroups", _table(shown.parts_table(audit, joined=True))]
    if len(audit.classes.by_subgroup):
        parts.append(_table(shown.subgroups_table(audit)))
    limits = [
        "All of it is of cases like these: this hospital, this prevalence. Elsewhere nothing is "
        "shown.",
        "The cases must be ones that the model was neither trained nor tuned on, which an audit "
        "cannot see.",
        "What is not shown is not disproved: an interval says how much these cases leave open.",
        *audit.notes,
    ]
    settings = [f"{key}: {value}" for key, value in audit.settings.items()]
    parts += [
        "### Limits",
        "\n".join(f"- {_text(each)}" for each in limits),
        "### How it was made",
        "\n".join(f"- {_text(each)}" for each in (f"lsplus_tf: {__version__}", *settings)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    """A table of Markdown, with its caption above."""
    ruler = [" ---: " if numeric else " --- " for numeric in table.numeric]
    rows = [table.headings, *([cell.text for cell in row] for row in table.cells)]
    head, *lines = (f"| {' | '.join(map(_inline, row))} |" for row in rows)
    return "\n".join([f"{_text(table.caption)}:", "", head, f"|{'|'.join(ruler)}|", *lines])


def _text(text: str) -> str:
    """A paragraph that Markdown and HTML show as it is."""
    return _LIST.sub(r"\1\\\2", _inline(text))


def _inline(text: str) -> str:
    """The same within a line."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return _MARKUP.sub(r"\\\1", one_line)
