"""What the numbers on pages are, in words, by the name under which a page shows them.

Those of metrics are in their records.
"""

from __future__ import annotations

from lsplus_tf.metrics.records import METRICS

_OTHERS = {
    "Prevalence": "share of the cases that are of the class",
    "Sensitivity": "share of the class's cases that are found, TP / (TP + FN); also called recall",
    "Specificity": "share of the other cases that are not taken for the class, TN / (TN + FP)",
    "Others": "how many cases are of the other classes",
    "Threshold": "the probability from which on a case is taken for the class",
    "PPV": "positive predictive value: share of the cases predicted as the class that are of it, "
    "TP / (TP + FP); it holds for this prevalence",
    "NPV": "negative predictive value: share of the cases not predicted as the class that are not "
    "of it, TN / (TN + FN); it holds for this prevalence",
    "AUPRC": "area under the precision-recall curve as average precision: the mean PPV over the "
    "thresholds at which one more case is found; chance is the prevalence, not 50%",
    "Confidence less accuracy": "mean confidence less accuracy: above 0 overconfident",
    "Gap": "mean confidence less accuracy, in percentage points: above 0 overconfident",
    "Decided automatically": "largest share of the cases, the most confident, whose error rate is "
    "at most the accepted one; its interval, in steps of 5%, is from the share for which future "
    "cases are shown to stay within it to the one from which on they are shown not to",
    "By chance": "the ECE that a perfectly calibrated model with these confidences shows on "
    "average with this many cases",
    "p (Holm)": "p value after Holm's correction for all tests of the table",
    "95% interval": "95 of 100 such intervals contain the value of the population that the cases "
    "are a random sample of",
    "Intercept": "calibration intercept: the constant that, added to the log-odds of the "
    "probabilities, makes their mean the observed share; 0 is calibrated, below 0 the "
    "probabilities are too high",
    "Slope": "calibration slope: the coefficient of the log-odds in a logistic regression of the "
    "outcome; 1 is calibrated, below 1 the probabilities are too extreme",
    "O/E": "observed over expected: the class's cases over the sum of its probabilities; 1 is "
    "calibrated, below 1 the probabilities are too high",
    "ICI": "integrated calibration index: mean distance of the smooth calibration curve to the "
    "probability, over the cases (Austin and Steyerberg 2019)",
    "E50": "median distance of the smooth calibration curve to the probability",
    "E90": "distance of the smooth calibration curve to the probability that 90% of the cases "
    "stay below",
    "Net benefit": "TP / N - FP / N x t / (1 - t) where cases of a probability of at least t are "
    "treated (Vickers and Elkin 2006): true positives, less the false ones at the price that the "
    "threshold says; not treating anybody has 0",
    "Cases": "how many cases; of weighted ones the sum of their weights",
    "Seeds": "how many trained networks the mean is over",
    "Decided": "share of the cases, the most confident, that the model decides",
    "Confidence from": "the smallest confidence among them",
    "Error rate": "share of the cases decided whose most probable class is not the true one",
    "Interval": "of the error rate, at a level that holds for all rows together at 95%",
    "Coverage": "share of the prediction sets that hold the true class",
    "Classes, mean": "mean number of classes in a prediction set",
    "Classes": "mean number of classes in a prediction set",
    "One class": "share of the prediction sets that have a single class",
    "LAC": "a prediction set has every class whose probability reaches one threshold (Sadinle et "
    "al. 2019)",
    "APS": "adaptive prediction sets: the most probable classes until their sum reaches a "
    "threshold (Romano et al. 2020)",
    "RAPS": "regularised APS, which penalises large sets (Angelopoulos et al. 2021)",
    "Brier change": "Brier score with the calibrator less that without, on held-out folds; below "
    "0 it helps",
    "ECE change": "ECE with the calibrator less that without, on held-out folds; below 0 it helps",
    "First less second": "the first model's metric less the second's, on the same cases",
    "p": "how often chance alone would make a difference at least as large",
    "Within classes": "share of the variance of the features that lies within classes",
    "Silhouette": "from -1 to 1, how much nearer features are to their own class than to the "
    "nearest other one",
    "Excess log loss": "mean Kullback-Leibler divergence of the model from the exact "
    "probabilities, in nats",
    "Total variation": "half the sum of the distances to the exact probabilities, mean over images",
    "ECE, exact": "the ECE with exact probabilities in place of labels",
    "SCE, exact": "the SCE with exact probabilities in place of labels",
    "ECE from labels": "the ECE with the labels that were drawn, as for any data set",
    "SCE from labels": "the SCE with the labels that were drawn, as for any data set",
}

GLOSSARY: dict[str, str] = {
    **{
        shown: record.definition
        for record in METRICS.values()
        for shown in (record.name, record.heading)
    },
    **_OTHERS,
}
"""The definition of what tables are headed by, or have in their first column."""
