"""An audit as files: JSON for machines, CSV tables, and a page."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lsplus_tf import files
from lsplus_tf.auditing.measured import Audit
from lsplus_tf.auditing.page import audit_page
from lsplus_tf.auditing.verdicts import is_too_small, verdict
from lsplus_tf.csv_files import without_formulas
from lsplus_tf.page import render
from lsplus_tf.version import __version__

_FORMAT = "lsplus_tf audit"
_VERSION = 1
_PAGE, _DOCUMENT = "audit.html", "audit.json"
_begins = files.begins_with(rb'\s*\{\s*"format":\s*"' + _FORMAT.encode() + b'"')
AUDIT = files.FolderKind(
    "an audit",
    lambda folder: _begins(folder / _DOCUMENT),
    re.compile(
        r"audit\.(html|json)|(metrics|classes|confusion|calibration|decisions|operating|subgroups|sets|parts|automatic|calibrators|comparison)\.csv"
    ),
)


def write_audit(audit: Audit, folder: str | Path) -> list[Path]:
    """Write `audit.html`, `audit.json` and a CSV of each table into a folder.

    Parameters
    ----------
    audit : Audit
    folder : str or Path

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        The folder holds something else than an earlier audit, which would be replaced, or cannot
        be written.

    Examples
    --------
    >>> import tempfile
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> [path.name for path in write_audit(result, Path(tempfile.mkdtemp()))][:4]
    ['audit.html', 'audit.json', 'metrics.csv', 'classes.csv']
    """
    text = json.dumps(as_document(audit), indent=2, allow_nan=False)
    written = [_PAGE, _DOCUMENT]
    with files.writing(folder, AUDIT, argument="folder") as new:
        new.mkdir()
        (new / _PAGE).write_text(render(audit_page(audit)), encoding="utf-8")
        (new / _DOCUMENT).write_text(text + "\n", encoding="utf-8")
        for name, table in tables(audit).items():
            without_formulas(table).to_csv(new / f"{name}.csv", index=False)
            written.append(f"{name}.csv")
    return [files.expanded(folder) / name for name in written]


def tables(audit: Audit) -> dict[str, pd.DataFrame]:
    """The tables of an audit by name.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    dict of str to DataFrame
        "metrics", "classes", "confusion", "parts", "automatic", and where there are some
        "calibration", "decisions", "operating", "subgroups", "sets", "calibrators" and
        "comparison"; numbers are fractions.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> tables(result)["metrics"].columns.tolist()
    ['metric', 'value', 'low', 'high']
    """
    found = {
        "metrics": audit.metrics.rename_axis("metric").reset_index(),
        "classes": audit.classes.table,
        "confusion": audit.classes.confusion.rename_axis("true_class").reset_index(),
        **_of_classes(audit),
        "parts": audit.parts,
        "automatic": audit.automatic.steps,
    }
    if audit.sets is not None:
        found["sets"] = audit.sets.table
    if audit.calibrators is not None:
        found["calibrators"] = audit.calibrators.table
    if audit.comparison is not None:
        found["comparison"] = audit.comparison.table
    return found


def _of_classes(audit: Audit) -> dict[str, pd.DataFrame]:
    found = {}
    if audit.classes.calibration is not None:
        found["calibration"] = audit.classes.calibration
    if audit.classes.decisions:
        curves = [each.curve.assign(**{"class": each.name}) for each in audit.classes.decisions]
        found["decisions"] = pd.concat(curves, ignore_index=True)
    if audit.classes.operating is not None:
        found["operating"] = audit.classes.operating.table
    if len(audit.classes.by_subgroup):
        found["subgroups"] = audit.classes.by_subgroup
    return found


def as_document(audit: Audit) -> dict[str, Any]:
    """Everything in an audit as what JSON can hold; NaN is null.

    Parameters
    ----------
    audit : Audit

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> document = as_document(result)
    >>> document["cases"], document["too_small"], document["verdict"][0]["topic"]
    (100, False, 'degenerate')
    """
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "lsplus_tf": __version__,
        "settings": audit.settings,
        "cases": len(audit.predictions),
        "groups": (
            None if audit.predictions.groups is None else int(audit.predictions.groups.max()) + 1
        ),
        "class_names": list(audit.predictions.class_names),
        "positive": list(audit.classes.positive),
        "thresholds_chosen_on": (
            None if audit.classes.operating is None else audit.classes.operating.chosen_on
        ),
        "too_small": is_too_small(audit),
        "verdict": [vars(finding) for finding in verdict(audit)],
        "ece_by_chance": vars(audit.chance),
        "paper_metrics": audit.paper_metrics,
        "votes": (
            None if audit.votes is None else {**vars(audit.votes), "gap": vars(audit.votes.gap)}
        ),
        "recommended_calibrator": (
            None if audit.calibrators is None else audit.calibrators.recommended
        ),
        "notes": audit.notes,
        "tables": {
            name: table.replace({np.nan: None}).to_dict(orient="records")
            for name, table in tables(audit).items()
        },
    }
    return _without_nan(document)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
