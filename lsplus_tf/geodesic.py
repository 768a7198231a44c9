"""Geodesic label smoothing (GeoLS): soft labels for segmentation that follow the image.

A pixel is given to a class the more, the shorter the way from it to the class's region, where
crossing an edge in the image makes a way long. NumPy in, NumPy out; the soft labels are the
`y_true` (B, H, W, K) of any loss of `lsplus_tf.losses`:

    distance = geodesic_distance(image, labels == k)     for every class k
    maps = geodesic_maps(labels, image, num_classes)     one image at a time, before training
    y_true = geodesic_soft_labels(labels, maps)          one image or a batch

Source: Vasudeva, Dolz and Lombaert, MIDL 2023, code github.com/adigasu/GeoLS @9d82622. The authors
measure the distance from each class's skeleton, by intensity differences alone, stretch
exp(-d / mean d) to [0, 1], and set the background's map to 1 less the mean of the others'. Here
every class, background included, is measured from its whole region.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

from lsplus_tf.errors import (
    MOST_CLASSES,
    InputError,
    check_count,
    check_fraction,
    check_number,
    check_positive,
)

__all__ = [
    "geodesic_distance",
    "geodesic_maps",
    "geodesic_soft_labels",
]

Spacing = float | Sequence[float]


def geodesic_distance(
    image: ArrayLike,
    mask: ArrayLike,
    intensity_weight: float = 10.0,
    spacing: Spacing = 1.0,
) -> NDArray[np.float64]:
    """Length of the shortest way from every pixel to the region `mask`; 0 inside it.

    A way goes from pixel to pixel, diagonals included (8 neighbours, or 26 voxels). A step of
    length s across an intensity difference of c costs sqrt(s^2 + (intensity_weight c)^2).

    Parameters
    ----------
    image : array_like, shape (H, W) or (D, H, W)
        Intensities, or these with a last axis of channels, whose c is their Euclidean distance.
    mask : array_like of bool, shape (H, W) or (D, H, W)
        At least one of them true.
    intensity_weight : float
        What an intensity difference of 1 costs, >= 0, in the unit of `spacing`. The default suits
        intensities in [0, 1]; 0 leaves the length of the path.
    spacing : float or sequence of float
        Size of a pixel, > 0, along all axes or along each.

    Returns
    -------
    ndarray of float64, shape (H, W) or (D, H, W)
        At least 0.

    Raises
    ------
    InputError
        Shapes that do not fit, NaN or infinity in the image, a mask that is not boolean or is
        empty, a negative weight, or a spacing that is not positive.

    Notes
    -----
    Without intensities, in 2-D with equal spacing, a way exceeds the straight line by up to 8.3 %.
    The steps are the edges of a sparse graph: some 200 bytes for a pixel, 600 for a voxel.
    scikit-image's `MCP_Geometric` gives pixels a cost, not steps, which would smear an edge in the
    image over both its sides.
    Source: the step's cost is that of Criminisi et al., ECCV 2008.

    Examples
    --------
    >>> from lsplus_tf.geodesic import geodesic_distance
    >>> image = [[0.0, 0.0, 0.4, 0.4]]
    >>> mask = [[True, False, False, False]]
    >>> geodesic_distance(image, mask, intensity_weight=10, spacing=3).tolist()
    [[0.0, 3.0, 8.0, 11.0]]
    """
    region = np.asarray(mask)
    if region.dtype != bool or region.ndim not in (2, 3):
        raise InputError(
            f"mask: expected booleans of shape (H, W) or (D, H, W), received {region.dtype} of "
            f"shape {region.shape}"
        )
    if not region.any():
        raise InputError("mask: expected at least one pixel in the region, received none")
    return _distance(_steps(image, region.shape, intensity_weight, spacing), region)


def geodesic_maps(
    labels: ArrayLike,
    image: ArrayLike,
    num_classes: int,
    intensity_weight: float = 10.0,
    spacing: Spacing = 1.0,
    scale: float | None = None,
) -> NDArray[np.float32]:
    """How near every pixel is to every class of an image: exp(-d / scale), d the geodesic distance.

    Parameters
    ----------
    labels : array_like of int, shape (H, W) or (D, H, W)
        Class ids, 0..K-1, of one image: a batch would pass for a volume.
    image, intensity_weight, spacing
        As in `geodesic_distance`.
    num_classes : int
        Number of classes, K.
    scale : float or None
        The distance at which a map has fallen to 1/e, > 0, in the unit of `spacing`; None takes the
        mean of d over the image, class by class, as the authors do.

    Returns
    -------
    ndarray of float32, shape (H, W, K) or (D, H, W, K)
        In [0, 1]: 1 in a class's region, falling with the distance from it, 0 everywhere for a
        class that the image has not. Rows do not sum to 1.

    Raises
    ------
    InputError
        Labels of another shape, that are not integers or out of range; K below 2; a scale that is
        not positive; otherwise as in `geodesic_distance`.

    Examples
    --------
    >>> from lsplus_tf.geodesic import geodesic_maps
    >>> maps = geodesic_maps([[0, 0, 1]], [[0.0, 0.0, 0.5]], num_classes=3, scale=5.0)
    >>> print(maps[0].round(2))
    [[1.   0.3  0.  ]
     [1.   0.36 0.  ]
     [0.36 1.   0.  ]]
    """
    num_classes = check_count("num_classes", num_classes, least=2, most=MOST_CLASSES)
    ids = _class_ids(labels, num_classes)
    if ids.ndim not in (2, 3):
        raise InputError(
            f"labels: expected shape (H, W) or (D, H, W), one image, received shape {ids.shape}"
        )
    if scale is not None:
        check_positive("scale", scale)
    steps = _steps(image, ids.shape, intensity_weight, spacing)
    maps = np.zeros((*ids.shape, num_classes), np.float32)
    for k in np.unique(ids):
        distance = _distance(steps, ids == k)
        # The mean is 0 for the only class of an image, and so is every distance.
        maps[..., k] = np.exp(-distance / (scale or distance.mean() or 1.0))
    return maps


def geodesic_soft_labels(
    labels: ArrayLike, maps: ArrayLike, alpha: float = 0.1, normalize: bool = True
) -> NDArray[np.float32]:
    """GeoLS targets: (1 - alpha) one-hot + alpha maps.

    Parameters
    ----------
    labels : array_like of int, shape (...)
        Class ids, 0..K-1: of an image, a volume, or a batch of them.
    maps : array_like, shape (..., K)
        In [0, 1], from `geodesic_maps`.
    alpha : float, in [0, 1]
        Weight of the maps; the authors used 0.1.
    normalize : bool
        Whether to divide the maps by their sum over classes, so that the targets of every pixel sum
        to 1. False is the authors' form, whose loss is that of targets with sum 1 - alpha + alpha
        (sum of maps) and so weighs pixels differently.

    Returns
    -------
    ndarray of float32, shape (..., K)
        In [0, 1].

    Raises
    ------
    InputError
        Labels out of range or not integers, maps of another shape, with NaN, or outside [0, 1];
        alpha outside [0, 1]; with `normalize`, a pixel whose maps are all 0.

    Notes
    -----
    Source: Vasudeva et al., MIDL 2023. With `normalize=False`,
    `lsplus_tf.losses.HardLabelLoss` of these targets equals the authors' loss.

    Examples
    --------
    >>> from lsplus_tf.geodesic import geodesic_soft_labels
    >>> print(geodesic_soft_labels([0, 1], [[1.0, 0.25], [0.6, 1.0]], alpha=0.5).round(2))
    [[0.9  0.1 ]
     [0.19 0.81]]
    """
    nearness = np.asarray(maps)
    if nearness.ndim < 2 or nearness.shape[-1] < 2 or nearness.dtype.kind not in "biuf":
        raise InputError(
            f"maps: expected numbers of shape (..., K), K >= 2, received {nearness.dtype} of shape "
            f"{nearness.shape}"
        )
    ids = _class_ids(labels, nearness.shape[-1])
    if ids.shape != nearness.shape[:-1]:
        raise InputError(
            f"maps: expected shape {ids.shape} and K, for labels of shape {ids.shape}; "
            f"received shape {nearness.shape}"
        )
    outside = ~((nearness >= 0) & (nearness <= 1))  # also true for NaN
    if outside.any():
        raise InputError(f"maps: expected values in [0, 1], received {nearness[outside][0]}")
    check_fraction("alpha", alpha)
    targets = nearness.astype(np.float32)
    if normalize:
        sums = targets.sum(axis=-1, keepdims=True)
        if not sums.all():
            index = tuple(int(i) for i in np.argwhere(sums[..., 0] == 0)[0])
            raise InputError(
                f"maps: expected a map above 0 at every pixel to normalize, received 0 for all "
                f"classes at {index}"
            )
        targets /= sums
    targets *= alpha
    own = np.take_along_axis(targets, ids[..., None], axis=-1)
    np.put_along_axis(targets, ids[..., None], own + np.float32(1.0 - alpha), axis=-1)
    return targets


def _steps(
    image: ArrayLike, shape: tuple[int, ...], intensity_weight: float, spacing: Spacing
) -> csr_array:
    """What the step between two neighbouring pixels costs, each pair once, (pixels, pixels)."""
    values = np.asarray(image)
    if values.dtype.kind not in "biuf" or values.shape[: len(shape)] != shape:
        raise InputError(
            f"image: expected numbers of shape {shape}, or with a last axis of channels, received "
            f"{values.dtype} of shape {values.shape}"
        )
    if values.ndim == len(shape):
        values = values[..., None]
    if values.ndim != len(shape) + 1:
        raise InputError(
            f"image: expected shape {shape}, or with a last axis of channels, received shape "
            f"{values.shape}"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            f"image: expected finite values, received {values[~np.isfinite(values)][0]}"
        )
    check_number("intensity_weight", intensity_weight)
    sizes = _sizes(spacing, len(shape))

    pixels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    sources, targets, costs = [], [], []
    for offset in itertools.product((-1, 0, 1), repeat=len(shape)):
        if offset <= (0,) * len(shape):
            continue  # the way back costs the same
        here = tuple(slice(max(-o, 0), n - max(o, 0)) for o, n in zip(offset, shape, strict=True))
        there = tuple(slice(max(o, 0), n - max(-o, 0)) for o, n in zip(offset, shape, strict=True))
        change = intensity_weight * np.linalg.norm(values[there] - values[here], axis=-1)
        sources.append(pixels[here].ravel())
        targets.append(pixels[there].ravel())
        costs.append(np.hypot(np.linalg.norm(sizes * offset), change).ravel())
    steps = np.concatenate(costs), (np.concatenate(sources), np.concatenate(targets))
    return coo_array(steps, shape=(pixels.size, pixels.size)).tocsr()


def _distance(steps: csr_array, region: NDArray[np.bool_]) -> NDArray[np.float64]:
    starts = np.flatnonzero(region)
    found = dijkstra(steps, directed=False, indices=starts, min_only=True)
    return found.reshape(region.shape)


def _sizes(spacing: Spacing, rank: int) -> NDArray[np.float64]:
    try:
        sizes = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (rank,))
    except (TypeError, ValueError):
        sizes = np.array([np.nan])
    if not ((sizes > 0) & np.isfinite(sizes)).all():
        raise InputError(
            f"spacing: expected a number > 0, or {rank} of them, one per axis, received {spacing!r}"
        )
    return sizes


def _class_ids(labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    ids = np.asarray(labels)
    if ids.dtype.kind not in "iu" or ids.size == 0:
        raise InputError(
            f"labels: expected integer class ids, received {ids.dtype} of shape {ids.shape}"
        )
    outside = (ids < 0) | (ids >= num_classes)
    if outside.any():
        raise InputError(
            f"labels: expected class ids in 0..{num_classes - 1}, received {ids[outside][0]}"
        )
    return ids.astype(np.int64)
