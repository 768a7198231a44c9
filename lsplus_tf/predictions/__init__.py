"""Predictions of any model with their labels: made of arrays or read from a file, and checked.

A table (text, Excel, Parquet or JSON, see :mod:`lsplus_tf.tables`) has a row for each case and
these columns, in any order:

- label: the true class, by name or as 0..K-1 in the order of the classes.
- probability_CLASS or logit_CLASS, one for each class; or, where no more is known, predicted and
  confidence, the predicted class and its probability.
- id: what the case is called, each once; optional.
- group: the patient, lesion or slide that the case is of; optional. Cases of one group are no
  independent evidence.
- votes_CLASS: how many annotators chose the class; optional.
- what a case counts, a weight of at least 0: never guessed, only as declared; optional.
- split: such as test; optional. One of several must be chosen.

A single column of scores is the score of class 2 of 2; a column of lists has those of all classes.

An NPZ file has the arrays labels (N,), probabilities or logits (N, K) (or predicted and confidence,
both (N,)), and as it needs ids, groups, votes (N, K), posterior (N, K), sample_weight (N,), split
and class_names (K,). `predictions_test.npz` in a run's folder is one.

Other usual names, such as y_true and prob_CLASS, are found where only one thing can be meant; all
others are declared with :class:`Columns`. Whether numbers are probabilities or logits is never
guessed from their values.
"""

from lsplus_tf.predictions.files import Columns, read_predictions
from lsplus_tf.predictions.predictions import (
    Predictions,
    as_predictions,
    concatenated,
    ordered_as,
)
from lsplus_tf.predictions.ranges import in_ranges
from lsplus_tf.tables import Rows

__all__ = [
    "Columns",
    "Predictions",
    "Rows",
    "as_predictions",
    "concatenated",
    "in_ranges",
    "ordered_as",
    "read_predictions",
]
