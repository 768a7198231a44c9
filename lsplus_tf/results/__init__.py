"""Finished runs: what they measured, as a table, with its uncertainty, figures and a page."""

from lsplus_tf.results.finished import Results, Row, gather
from lsplus_tf.results.joined import GridResults, JoinedReport, gather_grid
from lsplus_tf.results.report import Report

__all__ = ["GridResults", "JoinedReport", "Report", "Results", "Row", "gather", "gather_grid"]
