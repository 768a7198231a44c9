"""The phantom: synthetic images whose class probabilities are known exactly.

Every class has a template, seen in one of a finite number of poses: shifts by whole pixels and
rotations. The classes form groups of look-alikes, which have smooth blobs in common; what is a
class's own is one small blob beside them. A template is itself an image of 8 bits. An image of the
class is its template in a random pose, plus independent Gaussian noise, rounded and clipped to
0..255:

    y ~ prior,  pose ~ uniform,  x_j = min(max(round(template_y,pose,j + noise * z_j), 0), 255)

The networks see the rounded image, so it is that one's posterior which is computed: a grey level's
probability is a difference of two normal distribution functions, with the whole tail at 0 and at
255; the likelihood of a pose is their product over the pixels; and p(y | x) is Bayes' rule after a
sum over the poses. Nothing is estimated, and the images of a class stay as unsure as they are
however many are drawn.
"""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, logsumexp

from lsplus_tf.config import Dataset, Phantom
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import check_memory
from lsplus_tf.datasets.record import Record
from lsplus_tf.errors import InputError, check_choice, check_count

Stream = Literal["templates", "train", "validation", "test", "bayes_accuracy"]
FloatArray = npt.NDArray[np.float64]

# What is random draws from streams of its own, numbered in this order.
_STREAMS = get_args(Stream)
_BLOCK = 64  # images that are drawn from one state of the generator
_LOG_LIKELIHOODS = 2**20  # that are held at a time: 8 MB
_GREY_LEVELS = 256

_SHARED_BLOBS = 6
_SHARED_CONTRAST = 90.0  # grey levels, the farthest that the shared blobs are from the middle
_MIDDLE = 127.5
# In halves of the image's side.
_SHARED_WIDTHS = (0.2, 0.4)
_OWN_WIDTH = 0.22
_OWN_RADII = (0.3, 0.55)


class MonteCarlo(NamedTuple):
    """A mean over random samples, and its standard error."""

    mean: float
    standard_error: float


class PhantomDistribution:
    """The distribution of the phantom's images and labels.

    Parameters
    ----------
    settings : lsplus_tf.config.Phantom
        The templates depend on `seed`, `classes`, `separation`, `image_size` and `noise`, the
        images also on `prior`, `shift` and `rotations`.

    Attributes
    ----------
    templates : ndarray
        uint8, shape (K, P, S, S): the mean image, before clipping, of a class in a pose.
    prior : ndarray
        float64, shape (K,), sums to 1.
    class_names : tuple of str
        "1.1", "1.2" ... "2.1" ...: the group, and the class within it.

    Raises
    ------
    InputError
        If two classes have the same template, since what sets them apart is less than a grey level.

    Examples
    --------
    >>> phantom = PhantomDistribution(Phantom(classes=4, separation=[2.0, 3.0]))
    >>> phantom.class_names, phantom.templates.shape
    (('1.1', '1.2', '2.1', '2.2'), (4, 9, 16, 16))
    >>> images, labels = phantom.sample("test", 3)
    >>> phantom.posterior(images).sum(axis=1).round(12).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, settings: Phantom) -> None:
        self.settings = settings
        weights = np.array(settings.prior or (1.0,) * settings.classes)
        self.prior = weights / weights.sum()
        groups = np.array_split(np.arange(settings.classes), len(settings.separation))
        self.class_names = tuple(
            f"{number}.{member}"
            for number, group in enumerate(groups, 1)
            for member in range(1, len(group) + 1)
        )
        self.templates = _templates(settings, [len(group) for group in groups])
        self._refuse_equal_classes()

    def _refuse_equal_classes(self) -> None:
        upright = self.templates[:, 0].reshape(len(self.templates), -1)
        unique, counts = np.unique(upright, axis=0, return_counts=True)
        if len(unique) < len(upright):
            same = np.flatnonzero((upright == unique[counts > 1][0]).all(axis=1))[:2]
            one, other = (self.class_names[k] for k in same)
            raise InputError(
                f"phantom: classes {one} and {other} look the same in 8 bits; set a larger "
                "dataset.phantom.separation or dataset.phantom.noise"
            )

    def sample(
        self, split: Stream, count: int, *, start: int = 0
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return images `start` to `start + count` of a split without end, and their labels.

        Each is the same whatever `start` and `count` are. Another version of NumPy may draw
        other ones.

        Parameters
        ----------
        split : {"train", "validation", "test", "bayes_accuracy"}
            The last is used by :meth:`bayes_accuracy` alone.
        count : int
            Images, at least 1.
        start : int
            Number of the first image, at least 0.

        Returns
        -------
        images : ndarray
            uint8, shape (count, S, S, 1).
        labels : ndarray
            int64, shape (count,).
        """
        check_count("count", count)
        check_count("start", start, least=0)
        size = self.settings.image_size
        images = np.empty((count, size, size, 1), np.uint8)
        labels = np.empty(count, np.int64)
        for block in range(start // _BLOCK, (start + count - 1) // _BLOCK + 1):
            block_images, block_labels = self._block(split, block)
            first = block * _BLOCK - start  # where the block begins among the images asked for
            inside = slice(max(first, 0), min(first + _BLOCK, count))
            wanted = slice(inside.start - first, inside.stop - first)
            images[inside, ..., 0], labels[inside] = block_images[wanted], block_labels[wanted]
        return images, labels

    def _block(
        self, split: Stream, block: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        rng = _generator(self.settings.seed, split, block)
        classes, poses, *shape = self.templates.shape
        labels = rng.choice(classes, size=_BLOCK, p=self.prior)
        pose = rng.integers(poses, size=_BLOCK)
        noise = self.settings.noise * rng.standard_normal((_BLOCK, *shape))
        images = np.rint(self.templates[labels, pose] + noise).clip(0, _GREY_LEVELS - 1)
        return images.astype(np.uint8), labels

    def posterior(self, images: npt.NDArray[np.uint8]) -> FloatArray:
        """Return the exact p(y | x), float64, shape (N, K), of uint8 images (N, S, S, 1).

        The time grows with N times the number of templates times the number of pixels: about half a
        second for 10,000 images of the default settings.
        """
        size = self.settings.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 1):
            raise InputError(
                f"images: expected uint8 of shape (N, {size}, {size}, 1), "
                f"received {images.dtype} of shape {images.shape}"
            )
        classes, poses = self.templates.shape[:2]
        templates = self.templates.reshape(classes * poses, -1)
        pixels = images.reshape(len(images), -1)
        logs = log_grey_level_probabilities(self.settings.noise)
        posterior = np.empty((len(images), classes))
        step = max(1, _LOG_LIKELIHOODS // len(templates))
        for first in range(0, len(images), step):
            rows = slice(first, first + step)
            likelihood = _log_likelihoods(pixels[rows], templates, logs)
            # Poses are equally likely, so that their share of 1/P cancels.
            joint = logsumexp(likelihood.reshape(-1, classes, poses), axis=2) + np.log(self.prior)
            posterior[rows] = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        return posterior

    def bayes_accuracy(self, samples: int = 20_000) -> MonteCarlo:
        """Return the accuracy that no classifier of these images can exceed.

        It is the expectation over images of the largest p(y | x), here a Monte Carlo mean over
        images that are in none of the splits. Labels do not enter, only images.
        """
        check_count("samples", samples, least=2)
        highest = self.posterior(self.sample("bayes_accuracy", samples)[0]).max(axis=1)
        return MonteCarlo(
            float(highest.mean()), float(highest.std(ddof=1) / np.sqrt(float(samples)))
        )


def load_phantom(settings: Phantom, *, channels: int | None = None) -> ImageDataset:
    """Make the phantom's training, validation and test images, each with its posterior.

    Parameters
    ----------
    settings : lsplus_tf.config.Phantom
        What to make, and how many.
    channels : {1, 3} or None
        3 repeats the grey image, which changes no posterior.

    Returns
    -------
    ImageDataset
        Its splits have `posterior`, float64, shape (N, K). Ids are "phantom-test-000000" on.
    """
    total = settings.train + settings.validation + settings.test
    check_memory(total, settings.image_size, settings.image_size, channels or 1, "phantom")
    distribution = PhantomDistribution(settings)

    def make(split: Literal["train", "validation", "test"], count: int) -> Split:
        images, labels = distribution.sample(split, count)
        return Split(
            np.repeat(images, channels or 1, axis=3),
            labels,
            np.array([f"phantom-{split}-{index:06d}" for index in range(count)]),
            posterior=distribution.posterior(images),
        )

    return ImageDataset(
        name="phantom",
        class_names=distribution.class_names,
        train=make("train", settings.train),
        validation=make("validation", settings.validation),
        test=make("test", settings.test),
    )


def log_grey_level_probabilities(noise: float) -> FloatArray:
    """Return log P(pixel = x | template = m), shape (256, 256), rows m, columns x.

    A pixel is Gaussian around m with SD `noise`, rounded and clipped: x stands for the interval
    from x - 1/2 to x + 1/2, 0 for all below 1/2, and 255 for all above 254.5.
    """
    means, levels = np.ogrid[:_GREY_LEVELS, :_GREY_LEVELS]
    # The sides of the interval in SDs, mirrored to below the mean: a difference of distribution
    # functions near 1 would lose its digits. `nearer` is the side next to the mean.
    distance = np.abs(levels - means)
    log_nearer = log_ndtr((0.5 - distance) / noise)
    log_farther = log_ndtr((-0.5 - distance) / noise)
    interval = log_nearer + np.log(-np.expm1(log_farther - log_nearer))
    return np.where((levels == 0) | (levels == _GREY_LEVELS - 1), log_nearer, interval)


def _log_likelihoods(
    pixels: npt.NDArray[np.uint8], templates: npt.NDArray[np.uint8], logs: FloatArray
) -> FloatArray:
    """Log-likelihood of each template, (N, M), less a number for each image.

    Parameters
    ----------
    pixels : ndarray
        uint8, shape (N, J).
    templates : ndarray
        uint8, shape (M, J).
    logs : ndarray
        Shape (256, 256), see `log_grey_level_probabilities`.
    """
    total = np.zeros((len(pixels), len(templates)))
    for values, means in zip(pixels.T, templates.T, strict=True):
        of_level = logs[means].T  # (256, M)
        # Only differences count. Of sums near 0 fewer digits are lost than of sums in the
        # thousands.
        relative = of_level - of_level.max(axis=1, keepdims=True)
        total += relative[values]
    return total


def _templates(settings: Phantom, group_sizes: list[int]) -> npt.NDArray[np.uint8]:
    """The classes' images in every pose, the upright one in the middle first, (K, P, S, S)."""
    rng = _generator(settings.seed, "templates", 0)
    points = _poses(settings)
    templates = []
    for members, separation in zip(group_sizes, settings.separation, strict=True):
        shared = _sum_of_blobs(
            points,
            centres=rng.uniform(-0.7, 0.7, (_SHARED_BLOBS, 2)),
            widths=rng.uniform(*_SHARED_WIDTHS, _SHARED_BLOBS),
            heights=np.resize([-1.0, 1.0], _SHARED_BLOBS),
        )
        shared -= shared[0].mean()
        shared *= _SHARED_CONTRAST / np.abs(shared).max()
        # Around the middle, so that the look-alikes' own blobs overlap little.
        angles = 2 * np.pi * (rng.random() + np.arange(members) / members)
        for angle, radius in zip(angles, rng.uniform(*_OWN_RADII, members), strict=True):
            centre = radius * np.array([[np.sin(angle), np.cos(angle)]])
            own = _sum_of_blobs(points, centre, np.array([_OWN_WIDTH]), np.array([1.0]))
            own *= separation * settings.noise / np.linalg.norm(own[0])
            templates.append(_MIDDLE + shared + own)
    return np.rint(templates).clip(0, _GREY_LEVELS - 1).astype(np.uint8)


def _poses(settings: Phantom) -> FloatArray:
    """Where each pixel lies in the upright image, (P, S, S, 2), for rotations times shifts.

    The image's middle is (0, 0), and its sides are at -1 and 1. The first pose is upright.
    """
    size = settings.image_size
    axis = (np.arange(size) - (size - 1) / 2) / (size / 2)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    steps = sorted(range(-settings.shift, settings.shift + 1), key=abs)
    poses = []
    for turn in range(settings.rotations):
        angle = 2 * np.pi * turn / settings.rotations
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        poses += [
            (grid - np.array([down, right]) / (size / 2)) @ rotation
            for down in steps
            for right in steps
        ]
    return np.array(poses)


def _sum_of_blobs(
    points: FloatArray, centres: FloatArray, widths: FloatArray, heights: FloatArray
) -> FloatArray:
    """A sum of B Gaussian blobs at `points` (..., 2); `centres` is (B, 2), the others (B,)."""
    total = np.zeros(points.shape[:-1])
    for centre, width, height in zip(centres, widths, heights, strict=True):
        squares = np.square(points - centre).sum(axis=-1)
        total += height * np.exp(-squares / (2 * width**2))
    return total


def _generator(seed: int, stream: Stream, block: int) -> np.random.Generator:
    check_choice("split", stream, Stream)
    key = (_STREAMS.index(stream), block)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _load(settings: Dataset, folder: Path) -> ImageDataset:
    assert settings.phantom is not None  # as the settings see to
    return load_phantom(settings.phantom, channels=settings.channels)


RECORDS = (
    Record(
        name="phantom",
        source="synthetic, grey, of any size and number, with exact class probabilities",
        licence="none, made by this package",
        get="made on the fly, as dataset.phantom says",
        load=_load,
    ),
)
