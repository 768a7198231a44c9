"""Several hosts that train together, as `TF_CONFIG` in the environment says.

All of them do the same, but for files, which the chief alone writes. On one host, which is its own
chief, everything here is without effect.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lsplus_tf.errors import InputError


@dataclass(frozen=True)
class Hosts:
    """How many hosts train together, and whether this one is the chief."""

    count: int
    is_chief: bool


@functools.cache
def hosts() -> Hosts:
    """What `TF_CONFIG` says, which is read once; one host without it.

    Raises
    ------
    InputError
        It is not what TensorFlow takes, or has other tasks than a chief and workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return Hosts(1, is_chief=True)
    try:
        values = json.loads(text)
        cluster, task = values["cluster"], values["task"]
        kind, index = task["type"], int(task["index"])
        counts = {name: len(addresses) for name, addresses in cluster.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong(text) from error
    known = set(counts) <= {"chief", "worker"} and counts.get("chief", 1) == 1
    if not known or not 0 <= index < counts.get(kind, 0):
        raise _wrong(text)
    chief = "chief" if "chief" in counts else "worker"
    return Hosts(sum(counts.values()), is_chief=(kind, index) == (chief, 0))


def _wrong(text: str) -> InputError:
    return InputError(
        'TF_CONFIG: expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
        f'"worker", "index": 0}}}}, with the index of this host, received {text!r}'
    )


@functools.cache
def connected() -> Any:
    """The strategy over all hosts, as soon as all are there.

    To be called before TensorFlow does anything else.

    Raises
    ------
    InputError
        TensorFlow has done something already.
    """
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(
            "TF_CONFIG: the hosts have to be connected before TensorFlow does anything else; call "
            "lsplus_tf.training.several_hosts.connected() first"
        ) from error


def chief_says(values: Sequence[int]) -> list[int]:
    """The chief's `values`, of as many on every host; waits until all hosts ask."""
    if hosts().count == 1:
        return list(values)
    import tensorflow as tf

    strategy = connected()

    def of_the_chief() -> Any:
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group == 0  # the chief's first device
        mine = tf.constant(values, tf.int64) * tf.cast(is_first, tf.int64)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

    said = strategy.experimental_local_results(strategy.run(of_the_chief))[0]
    return [int(value) for value in said]


@contextmanager
def told_who_is_missing() -> Iterator[None]:
    """Say in words that another host is gone, for which TensorFlow has a page."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if hosts().count == 1:
            raise
        raise ConnectionError(
            "another host of this training has stopped; give the same command on all hosts again, "
            "and the training goes on from its last saved state"
        ) from error
