"""The audit of any model: can its confidence be relied on, where not, and how sure is that?

:func:`audit` measures, :func:`verdict` says in words what the intervals support,
:func:`write_audit` makes a page, JSON and CSV of it, and :func:`write_model_card` a part of a model
card; `lsplus-tf audit` is the same on the command line::

    result = lsp.audit(lsp.read_predictions("predictions.csv"))
    for finding in lsp.auditing.verdict(result):
        print(finding.text)

How each number is made:

- the gap, mean confidence less accuracy, also by predicted class and subgroup:
  `auditing.gaps`, with the interval of Agresti and Coull and Holm's correction;
- what chance makes of the ECE: `auditing.chance`;
- intervals of metrics: `lsplus_tf.metrics.intervals`, each by the method of its record;
- the share of cases that could be decided automatically: `auditing.automatic`;
- calibrators on folds that they were not fitted on: `auditing.cross_fit`;
- two models on the same cases: `auditing.comparison`.
"""

from lsplus_tf.auditing.card import model_card, write_model_card
from lsplus_tf.auditing.conditions import Condition, parse_condition
from lsplus_tf.auditing.measured import Audit, audit
from lsplus_tf.auditing.output import as_document, tables, write_audit
from lsplus_tf.auditing.page import audit_page
from lsplus_tf.auditing.verdicts import Finding, is_too_small, verdict

__all__ = [
    "Audit",
    "Condition",
    "Finding",
    "as_document",
    "audit",
    "audit_page",
    "is_too_small",
    "model_card",
    "parse_condition",
    "tables",
    "verdict",
    "write_audit",
    "write_model_card",
]
