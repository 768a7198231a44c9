"""The data sets that are known by name, each in a file of its own.

A file has `RECORDS`, a tuple of `Record`, and what reads the set's files. It is found by lying
here.
"""

import importlib
import pkgutil

from lsplus_tf.datasets.record import Record

__all__ = ["RECORDS"]


def _collect() -> dict[str, Record]:
    """All records by name: those without files first, as they are always there."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    records = [
        record
        for name in modules
        for record in importlib.import_module(f"{__name__}.{name}").RECORDS
    ]
    return {record.name: record for record in sorted(records, key=lambda r: r.mark != "")}


RECORDS = _collect()
