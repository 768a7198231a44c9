"""Finds where a convex objective is least, and says so where it is not found."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from lsplus_tf.calibrators.base import Floats

LIMIT = 100.0
"""How far parameters go, in units of the logits' own size: a typical margin of 100 leaves 1e-43 for
the other classes."""

_MANY = 2500  # parameters, those of matrices of fifty classes
_PERFECT = 1e-6  # a mean negative log-likelihood that goes to 0 if it is let
_FLAT = 1e-5  # a slope of a mean log-likelihood that is no slope


def minimise(
    objective: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    method: str,
    *,
    lowest: Floats | None = None,
) -> Floats:
    """The parameters within `LIMIT` of 0 for which the objective is least.

    Parameters
    ----------
    objective : callable
        Gives its value and slope; a mean over samples.
    start : ndarray, shape (P,)
        Where to begin.
    method : str
        What warnings call it.
    lowest : ndarray, shape (P,), optional
        How low each may go; by default -LIMIT.
    """
    lowest = np.full(len(start), -LIMIT) if lowest is None else lowest
    # Products of small matrices take many times as long while the threads of a BLAS wait.
    with _libraries().limit(limits=1 if len(start) < _MANY else None):
        result = minimize(
            objective,
            np.clip(start, lowest, LIMIT),
            jac=True,
            method="L-BFGS-B",
            bounds=[(low, LIMIT) for low in lowest],
            options={"maxiter": 1000, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-8},
        )
    at_limit = np.abs(result.x) >= LIMIT
    if result.fun < _PERFECT or at_limit.any():
        warnings.warn(
            f"{method}: no parameters are the best, the logits separate classes without an "
            "error; expect probabilities of 0 and 1",
            stacklevel=4,
        )
    slope = np.abs(result.jac[~at_limit & (result.x > lowest)]).max(initial=0.0)
    if slope > _FLAT:
        warnings.warn(
            f"{method}: stopped where the likelihood still has a slope of {slope:.1e} "
            f"({result.message})",
            ConvergenceWarning,
            stacklevel=4,
        )
    return result.x


@cache
def _libraries() -> ThreadpoolController:
    """Those of linear algebra, which were loaded with NumPy and SciPy; to find them takes a ms."""
    return ThreadpoolController()
