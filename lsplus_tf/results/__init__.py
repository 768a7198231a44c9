"""Finished runs: what they measured, as a table, with its uncertainty, figures and a page."""

from lsplus_tf.results.finished import Results, Row, gather
from lsplus_tf.results.report import Report

__all__ = ["Report", "Results", "Row", "gather"]
