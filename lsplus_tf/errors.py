"""What was given and cannot be used: exceptions that the command line tells in a line, and checks.

Numbers, choices and flags that a user gives are checked by one of the functions here.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
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
    "check_number",
    "check_positive",
    "check_seed",
    "counted",
    "did_you_mean",
    "listed",
    "one_line",
    "some_of",
]


# Bounds of counts, for which more would only take all memory or time: generous, as what people have
# is far below. ImageNet-21k has 21,841 classes, for each pair of which there may be a number.
MOST = 2**31 - 1  # of any count, as TensorFlow's int32
MOST_BINS = 100_000
MOST_CLASSES = 30_000
MOST_RESAMPLES = 1_000_000
MOST_BATCH = 2**20  # samples in a step
MOST_PIXELS = 8192  # along an axis of an image that a network is given
MOST_WORKERS = 1024
MOST_DEVICES = 256
# What losses compute with in float32, beyond which values overflow.
LEAST_MARGIN, MOST_MARGIN = 1e-6, 1e6  # that CALS divides by
MOST_ACLS_WEIGHT = 1e4  # of squares, times another such
MOST_SCALE_EXPONENT = 100.0  # of distances of at most 2
_MOST_SEED = 2**64 - 1
_LONG = 200  # bits


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: it names the argument or file, what was expected and what came.

    Examples
    --------
    >>> from lsplus_tf import metrics
    >>> metrics.accuracy([0, 2], [[0.9, 0.1], [0.2, 0.8]])
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: labels: expected integers from 0 to 1, received 2 at row 1
    (of 2 rows)
    """


class MissingDataError(InputError, FileNotFoundError):
    """A data file is not where it was looked for; the message says where to get and put it.

    Examples
    --------
    >>> from lsplus_tf.config import load_config
    >>> try:
    ...     load_config("nowhere.yaml")
    ... except FileNotFoundError as error:
    ...     print(str(error).partition(";")[0])
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
    """The same, where none is made, for what the user gave: another call changes nothing.

    Examples
    --------
    >>> issubclass(RefusedRunsError, InputError)
    True
    """


def one_line(error: BaseException, longest: int | None = None) -> str:
    """What an error says, on one printable line, cut after `longest`; its kind if it says nothing.

    Parameters
    ----------
    error : BaseException
    longest : int, optional
        Characters.

    Examples
    --------
    >>> one_line(ValueError("no\\nnumber")), one_line(KeyError())
    ('no number', 'KeyError')
    """
    text = " ".join(str(error).split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) or type(error).__name__
    return line if longest is None or len(line) <= longest else f"{line[:longest]} ..."


def counted(count: int, noun: str, plural: str = "") -> str:
    """How many there are, in words: the noun has an "s", or is `plural`, unless there is one.

    Parameters
    ----------
    count : int
    noun : str
    plural : str, optional

    Examples
    --------
    >>> counted(1, "blank image"), counted(0, "image"), counted(2, "class", "classes")
    ('1 blank image', '0 images', '2 classes')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def some_of(names: Sequence[object], most: int = 3) -> str:
    """Names for a sentence; of many the first, and how many more there are.

    Parameters
    ----------
    names : sequence
    most : int, optional
        So many are named.

    Examples
    --------
    >>> some_of("abc"), some_of("abcde")
    ('a, b, c', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def listed(names: Sequence[object]) -> str:
    """Names for a sentence, all of them.

    Parameters
    ----------
    names : sequence
        At least one.

    Examples
    --------
    >>> listed("a"), listed("abc")
    ('a', 'a, b and c')
    """
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """What a message goes on with where a name is nearly a known one, or its initials, or nothing.

    Parameters
    ----------
    received : str
    known : iterable of str

    Examples
    --------
    >>> did_you_mean("temprature", ["temperature", "vector"]), did_you_mean("x", ["y"])
    (", did you mean 'temperature'?", '')
    >>> did_you_mean("OLS", ["label_smoothing", "online_label_smoothing"])
    ", did you mean 'online_label_smoothing'?"
    """
    spelled = {name.casefold(): name for name in known}
    given = received.casefold()
    initials = [name for name in spelled if "_" in name and given == _initials(name)]
    close = initials if len(initials) == 1 else difflib.get_close_matches(given, spelled, n=1)
    return f", did you mean {spelled[close[0]]!r}?" if close else ""


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.split("_"))


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
    if not isinstance(value, str) or value not in allowed:
        expected = " or ".join(map(repr, allowed))
        hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
        raise InputError(f"{name}: expected {expected}, received {value!r}{hint}")
    return value


def check_count(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """Return `value` as an int; raise `InputError` unless it is an integer from `least` to `most`.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object
    least, most : int, optional

    Examples
    --------
    >>> check_count("num_bins", 0)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: num_bins: expected an integer of at least 1, received 0
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{name}: expected an integer of at least {least}, {_received(value)}")
    if int(value) > most:
        raise InputError(f"{name}: expected an integer of at most {most}, {_received(value)}")
    return int(value)


def check_seed(value: Any) -> int:
    """Return `value` as an int; raise `InputError` unless it is an integer of at least 0.

    Parameters
    ----------
    value : object

    Examples
    --------
    >>> check_seed(-1)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: seed: expected an integer of at least 0, received -1
    """
    return check_count("seed", value, least=0, most=_MOST_SEED)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool; raise `InputError` unless it is one, of Python or of NumPy.

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
        raise InputError(f"{name}: expected True or False, {_received(value)}")
    return bool(value)


def check_number(name: str, value: Any, least: float = 0.0, most: float = math.inf) -> float:
    """Return `value` as a float; raise `InputError` unless it is a number from `least` to `most`.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object
    least, most : float, optional

    Examples
    --------
    >>> check_number("gamma", -1)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: gamma: expected a number >= 0, received -1
    """
    if not _is_number(value) or not least <= value <= most:
        bounds = f"in [{least:g}, {most:g}]" if most < math.inf else f">= {least:g}"
        raise InputError(f"{name}: expected a number {bounds}, {_received(value)}")
    return float(value)


def check_positive(name: str, value: Any, most: float = math.inf) -> float:
    """Return `value` as a float; raise `InputError` unless it is a number above 0, up to `most`.

    Parameters
    ----------
    name : str
        What the error calls the value.
    value : object
    most : float, optional

    Examples
    --------
    >>> check_positive("temperature", 0.0)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: temperature: expected a number > 0, received 0.0
    """
    if not _is_number(value) or not 0.0 < value <= most:
        bounds = f"in (0, {most:g}]" if most < math.inf else "> 0"
        raise InputError(f"{name}: expected a number {bounds}, {_received(value)}")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float; raise `InputError` unless it is a number in [0, 1].

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
    return check_number(name, value, most=1.0)


def check_level(name: str, value: Any) -> float:
    """Return `value` as a float; raise `InputError` unless it is above 0 and below 1.

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
    if not _is_number(value) or not 0.0 < value < 1.0:
        raise InputError(f"{name}: expected a number between 0 and 1, {_received(value)}")
    return float(value)


def _is_number(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _received(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _LONG:  # which Python may refuse to print
        return f"received one of {value.bit_length()} bits"
    # NumPy's numbers would show their type.
    return f"received {value}" if isinstance(value, Real) else f"received {value!r}"
