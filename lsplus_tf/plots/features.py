"""A map of a network's features, the outputs before its last layer."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from threadpoolctl import threadpool_limits

from lsplus_tf.errors import InputError
from lsplus_tf.metrics.features import checked_features
from lsplus_tf.plots import _shared

# For each round of the seven colours a marker, every other one hollow: 28 classes before a look
# repeats, and each has its name, or its number, beside it as well.
_MARKERS = "o^sD"
MOST_NAMES = 28  # more would lie upon each other
_FRAME = {"facecolor": "white", "alpha": 0.8, "pad": 1.5}
_APART = (0.1, 0.05)  # names less far apart, of the map's width and height, may lie upon each other
_SMALL = {"va": "bottom", "fontsize": 6}  # above the middle, which it would hide
_SPREAD = (1e-15, 1e15)  # beyond, t-SNE's squares in float32 vanish or overflow, and it crashes


def feature_map(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """t-SNE of features: a point a sample, a colour and marker a class, its name in the middle.

    Of more than 28 classes it is the class's number, from 0, in small print.

    Which points are neighbours can be read from it. Distances between clusters, and their sizes,
    cannot: t-SNE evens them out, and another seed or perplexity moves them. To say that classes are
    more compact, measure it on the features themselves, by `lsplus_tf.metrics.within_class_share`
    or scikit-learn's `silhouette_score`.

    Parameters
    ----------
    features : array_like, shape (N, D)
        Such as the outputs of a network's penultimate layer.
    labels : array_like of int, shape (N,)
        True classes in [0, K).
    class_names : sequence of str, length K
        A class without a sample is left out.
    perplexity : float
        How many neighbours a sample is to keep, roughly; above 0 and below N.
    seed : int
        The same seed gives the same map on the same machine.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        One collection per class that has samples, labelled with the class's name.

    Raises
    ------
    InputError
        If features and labels are not as above, all samples have the same features, or the
        perplexity is not between 0 and N.

    References
    ----------
    van der Maaten and Hinton, JMLR 9, 2008. Zhang et al., IEEE TIP 2021, show the penultimate
    features of networks trained with hard labels, label smoothing and OLS so.

    Examples
    --------
    >>> ax = feature_map([[0.0, 0.1], [0.1, 0.0], [5.0, 5.1]], [0, 0, 1], ["HP", "SSA"],
    ...                  perplexity=1)
    >>> [text.get_text() for text in ax.texts]
    ['HP', 'SSA']
    """
    classes, points = checked_features(labels, features)
    if classes.min() < 0 or classes.max() >= len(class_names):
        raise InputError(
            f"labels: expected 0..{len(class_names) - 1}, as class_names has {len(class_names)}, "
            f"received {classes.min()}..{classes.max()}"
        )
    if not 0 < perplexity < len(points):
        raise InputError(
            f"perplexity: expected more than 0 and less than the {len(points)} samples, "
            f"received {perplexity}"
        )
    spread = float(np.ptp(points, axis=0).max())
    if not _SPREAD[0] < spread < _SPREAD[1]:
        raise InputError(
            f"features: expected samples that differ, by {_SPREAD[0]:g} to {_SPREAD[1]:g}; the "
            f"largest difference is {spread:g}"
        )
    if points.shape[1] == 1:  # PCA, where t-SNE starts, makes no two coordinates of one
        points = np.pad(points, ((0, 0), (0, 1)))
    # Imported here: it costs a second, and no other figure needs it.
    from sklearn.manifold import TSNE

    # On some thousand points more threads than one wait for each other: 2 busy cores took 5 to 14
    # times as long.
    with threadpool_limits(1):
        places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    ax = ax or _shared.new_axes(5.2, 5.2)
    shown = np.unique(classes)
    many = len(shown) > MOST_NAMES
    middles = _middles(places, classes)
    for k in shown:
        of_class = places[classes == k]
        colour, turn = _shared.look(k)["color"], k // len(_shared.METHOD_COLOURS)
        ax.scatter(
            of_class[:, 0],
            of_class[:, 1],
            s=5 if many else 12,
            linewidths=0.8,
            alpha=0.8,
            edgecolors=colour,
            facecolors="none" if turn % 2 else colour,
            marker=_MARKERS[turn % len(_MARKERS)],
            label=class_names[k],
        )
        x, y = middles[k]
        ax.text(
            x,
            y,
            str(k) if many else class_names[k],
            ha="center",
            **(_SMALL if many else {"va": "center", "bbox": {**_FRAME, "edgecolor": colour}}),
        )
    # The coordinates have neither a unit nor a meaning.
    ax.set(xticks=[], yticks=[], xlabel="t-SNE of the features")
    ax.set_aspect("equal", adjustable="datalim")
    return ax


def _middles(
    places: npt.NDArray[np.floating], classes: npt.NDArray[np.intp]
) -> dict[int, npt.NDArray[np.floating]]:
    """Where each class's name goes: its median, or its own point nearest to it that is free."""
    size = _APART * np.ptp(places, axis=0)
    middles: dict[int, npt.NDArray[np.floating]] = {}
    for k in np.unique(classes):
        own = places[classes == k]
        middle = np.median(own, axis=0)
        order = np.argsort(((own - middle) ** 2).sum(axis=1), kind="stable")
        tried = np.vstack([middle, own[order]])
        taken = np.array([*middles.values()]).reshape(-1, 2)
        free = (np.abs(tried[:, None] - taken) >= size).any(axis=2).all(axis=1)
        middles[int(k)] = tried[np.argmax(free)]  # the median, where none is free
    return middles
