"""The exceptions that the command line tells in a line, such as "what you gave is wrong"."""

from numbers import Integral, Real
from typing import Any, get_args

__all__ = [
    "FailedRunsError",
    "InputError",
    "MissingDataError",
    "RefusedRunsError",
    "check_choice",
    "check_count",
    "check_flag",
    "check_fraction",
    "check_level",
    "check_seed",
    "one_line",
]


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: it names the argument or file, what was expected and what came.

    Examples
    --------
    >>> from lsplus_tf import metrics
    >>> metrics.accuracy([2], [[0.9, 0.1]])
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: labels: expected integers from 0 to 1, received 2 at row 0
    (of 1 rows)
    """


class MissingDataError(InputError, FileNotFoundError):
    """A data file is not where it was looked for; the message says where to get and put it.

    Examples
    --------
    >>> from lsplus_tf.config import load_config
    >>> try:
    ...     load_config("nowhere.yaml")
    ... except FileNotFoundError as error:
    ...     print(error)
    config: no such file nowhere.yaml
    """

    def __str__(self) -> str:
        # FileNotFoundError would otherwise format its arguments as an errno and a file name.
        return str(self.args[0])


class FailedRunsError(RuntimeError):
    """Some runs of an experiment could not be made; the message, of one line, says which and why.

    All others are made.

    Examples
    --------
    >>> issubclass(FailedRunsError, InputError)  # a second call may succeed
    False
    """


class RefusedRunsError(FailedRunsError, InputError):
    """The same, where all of them failed of what the user gave: another call changes nothing.

    Examples
    --------
    >>> issubclass(RefusedRunsError, InputError)
    True
    """


def one_line(error: BaseException, longest: int | None = None) -> str:
    """What an error says, on one line, cut after `longest` characters; its kind if it says nothing.

    Parameters
    ----------
    error : BaseException
    longest : int, optional

    Examples
    --------
    >>> one_line(ValueError("no\\nnumber")), one_line(KeyError())
    ('no number', 'KeyError')
    """
    line = " ".join(str(error).split()) or type(error).__name__
    return line if longest is None or len(line) <= longest else f"{line[:longest]} ..."


def check_choice(name: str, value: Any, choices: Any) -> Any:
    """Return `value`; raise `InputError` unless it is one of the strings of a `Literal`.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object
    choices : Literal

    Examples
    --------
    >>> from typing import Literal
    >>> check_choice("samples", "some", Literal["erroneous", "all"])
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: samples: expected 'erroneous' or 'all', received 'some'
    """
    allowed = get_args(choices)
    if value not in allowed:
        listed = " or ".join(map(repr, allowed))
        raise InputError(f"{name}: expected {listed}, received {value!r}")
    return value


def check_count(name: str, value: Any) -> None:
    """Raise `InputError` unless the value is an integer of at least 1.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object

    Examples
    --------
    >>> check_count("num_bins", 0)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: num_bins: expected an integer of at least 1, received 0
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name}: expected an integer of at least 1, received {value!r}")


def check_flag(name: str, value: Any) -> None:
    """Raise `InputError` unless the value is a bool, of Python or of NumPy.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object

    Examples
    --------
    >>> check_flag("from_logits", "yes")
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: from_logits: expected True or False, received 'yes'
    """
    if type(value).__name__ not in ("bool", "bool_"):
        raise InputError(f"{name}: expected True or False, received {value!r}")


def check_fraction(name: str, value: Any) -> None:
    """Raise `InputError` unless the value is a number in [0, 1].

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object

    Examples
    --------
    >>> check_fraction("coverage", 90)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: coverage: expected a number in [0, 1], received 90
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1:
        raise InputError(f"{name}: expected a number in [0, 1], received {value!r}")


def check_level(name: str, value: Any) -> None:
    """Raise `InputError` unless the value is a number between 0 and 1, neither included.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object

    Examples
    --------
    >>> check_level("confidence_level", 95)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: confidence_level: expected a number between 0 and 1, received 95
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise InputError(f"{name}: expected a number between 0 and 1, received {value!r}")


def check_seed(value: Any) -> None:
    """Raise `InputError` unless the value is an integer of at least 0.

    Parameters
    ----------
    value : object

    Examples
    --------
    >>> check_seed(-1)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: seed: expected an integer of at least 0, received -1
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise InputError(f"seed: expected an integer of at least 0, received {value!r}")
