"""The order of the samples in the LS+ paper's published retention curves.

The paper ranks test images by confidence. The released code passes the predicted class instead
and lets NumPy's unstable `argsort` order it, so that the curves show, for the most part, how
accurate each class's predictions are. Within a class the order is an accident of the sort: any
other one, such as `kind="stable"`, gives another curve.

NumPy's own `argsort` cannot be used to repeat it. Five of six curves of MHIST and ResNet-34 were
made by NumPy 1.19's introsort. Since 1.25 NumPy sorts 64-bit integers by another algorithm on
processors with AVX-512, and since 2.0 by a third one on those with AVX2. The curve of focal loss,
which the authors trained under NumPy 1.26, has the order of the AVX-512 sort: NumPy 2.4 on such a
processor repeats it point for point, and none of the five others. Hence the introsort below, which
gives the same order everywhere; the focal curve then differs by up to 0.0041.
"""

import numpy as np
import numpy.typing as npt

_SHORT = 16  # at most as many are sorted by insertion


def introsort_order(values: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The indices that sort `values`, equal ones in the order of NumPy 1.19's `argsort`.

    A quicksort with the median of three as the pivot, which leaves short parts to an insertion
    sort. NumPy's falls back on a heapsort where the parts are very uneven; with the few distinct
    values of class indices they are not, and this one has no such fallback.
    """
    keys = np.asarray(values).tolist()
    order = list(range(len(keys)))
    parts = [(0, len(keys) - 1)]
    while parts:
        low, high = parts.pop()
        if high - low < _SHORT:
            _insertion_sort(keys, order, low, high)
        else:
            middle = _partition(keys, order, low, high)
            parts += [(low, middle - 1), (middle + 1, high)]
    return np.array(order, dtype=np.intp)


def _partition(keys: list[int], order: list[int], low: int, high: int) -> int:
    """Move what is smaller than the pivot before it and what is larger behind; its place."""

    def swap(a: int, b: int) -> None:
        order[a], order[b] = order[b], order[a]

    middle = low + (high - low) // 2
    for later, earlier in ((middle, low), (high, middle), (middle, low)):
        if keys[order[later]] < keys[order[earlier]]:
            swap(later, earlier)
    pivot = keys[order[middle]]
    swap(middle, high - 1)
    # Both scans stop at keys equal to the pivot, which are then exchanged to no effect but on the
    # order of the samples; the median of three keeps them inside the part.
    left, right = low, high - 1
    while True:
        left += 1
        while keys[order[left]] < pivot:
            left += 1
        right -= 1
        while pivot < keys[order[right]]:
            right -= 1
        if left >= right:
            break
        swap(left, right)
    swap(left, high - 1)
    return left


def _insertion_sort(keys: list[int], order: list[int], low: int, high: int) -> None:
    for end in range(low + 1, high + 1):
        sample, place = order[end], end
        while place > low and keys[sample] < keys[order[place - 1]]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = sample
