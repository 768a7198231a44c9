"""Images that look the same though their pixels differ: a perceptual hash, and pairs of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

HASH_SIDE = 16  # of the hash's square of bits
THUMBNAIL_SIDE = 32  # what the hash is of; of 64 pixels it finds no more, and takes twice the time
NEAR_BITS = 24  # of 256, that near copies differ in at most: measured, see benchmarks/README.md
_LINKS = 1_000_000  # that are kept before they are joined
_ROWS, _COLUMNS = 64, 4096  # of pairs that are compared at a time, which fit a cache

Bits = npt.NDArray[np.uint64]


def thumbnail(picture: Image.Image) -> Image.Image:
    """The image in grey, of `THUMBNAIL_SIDE` pixels; the same of all with the same pixels."""
    grey = picture if picture.mode == "L" else picture.convert("L")
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return grey.resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0)


def perceptual_hash(small: Image.Image) -> Bits:
    """The hash of a thumbnail, 256 bits as four integers."""
    import imagehash

    factor = THUMBNAIL_SIDE // HASH_SIDE
    bits = imagehash.phash(small, hash_size=HASH_SIDE, highfreq_factor=factor).hash
    return np.packbits(bits.ravel()).view(np.uint64)


def near_pairs(
    hashes: Bits, limit: int = NEAR_BITS
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
    """All pairs of hashes (N, W) that differ in at most `limit` bits, some at a time.

    Yields
    ------
    first, second, distance : ndarray
        Rows of `hashes`, first < second, and the number of bits. No two blocks of pairs are kept,
        so that memory does not grow with their number.
    """
    # The finest details first, in which different images differ most.
    columns = np.ascontiguousarray(hashes.T[::-1])
    for start in range(0, len(hashes), _ROWS):
        for other in range(start, len(hashes), _COLUMNS):
            # One of the words decides against most pairs.
            few = np.bitwise_count(
                columns[0, start : start + _ROWS, np.newaxis]
                ^ columns[0, np.newaxis, other : other + _COLUMNS]
            )
            first, second = np.nonzero(few <= limit)
            first, second = first + start, second + other
            ahead = first < second
            first, second = first[ahead], second[ahead]
            distance = np.zeros(len(first), np.int64)
            for column in columns:
                distance += np.bitwise_count(column[first] ^ column[second])
                near = distance <= limit
                first, second, distance = first[near], second[near], distance[near]
            if len(first):
                yield first, second, distance


class Joined:
    """Which of N images are joined, directly or through others, in memory of their number.

    Parameters
    ----------
    count : int
        Of images.
    """

    def __init__(self, count: int) -> None:
        self._first = np.arange(count)
        self._links: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
        self._waiting = 0

    def add(self, one: npt.NDArray[np.intp], other: npt.NDArray[np.intp]) -> None:
        """Join images (M,) to others (M,)."""
        self._links.append((one, other))
        self._waiting += len(one)
        if self._waiting > max(len(self._first), _LINKS):
            self._first = self.first()
            self._links, self._waiting = [], 0

    def first(self) -> npt.NDArray[np.intp]:
        """Of each image the first that it is joined to, (N,)."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self._first)
        links = [(np.arange(count), self._first), *self._links]
        one, other = (np.concatenate(each) for each in zip(*links, strict=True))
        graph = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
        _, component = connected_components(graph, directed=False)
        return np.unique(component, return_index=True)[1][component]
