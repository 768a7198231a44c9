"""One size and one number of channels for all images, and no more of them than memory holds."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from lsplus_tf.config import Dataset, Interpolation, Scaling
from lsplus_tf.errors import InputError

MEMORY_SHARE = 0.8


def check_memory(count: int, height: int, width: int, channels: int, name: str) -> None:
    """Refuse a data set whose uint8 images alone need most of the machine's memory.

    Parameters
    ----------
    count, height, width, channels : int
        Images of the data set and their shape.
    name : str
        The data set, for the message.

    Raises
    ------
    InputError
        If count * height * width * channels bytes are more than 80% of the physical memory. A
        container's own limit is not looked at. No check where the system does not tell.
    """
    if not hasattr(os, "sysconf"):
        return
    needed = count * height * width * channels
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > MEMORY_SHARE * memory:
        raise InputError(
            f"{name}: {count} images of {height}x{width}x{channels} need {needed / 2**30:.1f} GiB, "
            f"more than {MEMORY_SHARE:.0%} of this machine's {memory / 2**30:.1f} GiB; "
            "set a smaller dataset.image_size, or for files dataset.cache to disk or none"
        )


def to_pillow(image: npt.NDArray[np.uint8]) -> Image.Image:
    """Return a uint8 image of shape (H, W, 1) or (H, W, 3) as a Pillow image (L or RGB)."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def to_8_bits(values: npt.NDArray[np.float64], scaling: Scaling) -> npt.NDArray[np.uint8]:
    """Spread the values between the limits of a scaling evenly over 0..255, cut, and round.

    An image that is even between its own percentiles becomes 0, and 255 above them.

    Examples
    --------
    >>> to_8_bits(np.array([-5.0, 0.0, 20.0, 50.0, 99.0]), Scaling(range=(0, 50)))
    array([  0,   0, 102, 255, 255], dtype=uint8)
    """
    limits = scaling.limits
    if limits is None:
        low, high = np.percentile(values, scaling.percentiles or (0, 100))
    else:
        low, high = limits
    width = high - low if high > low else np.finfo(np.float64).tiny
    with np.errstate(over="ignore"):  # what is cut anyway
        # Multiplied first, so that halves of integers are exact, and rounded to even.
        return np.rint(np.clip((values - low) * 255 / width, 0, 255)).astype(np.uint8)


def to_array(
    image: Image.Image,
    *,
    channels: int,
    image_size: int | None = None,
    interpolation: Interpolation = "bilinear",
    box: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.uint8]:
    """Return a Pillow image as uint8, shape (H, W, channels), values 0..255.

    Colour becomes grey by ITU-R 601 luma, grey is repeated over three channels, and an alpha
    channel is dropped: transparent pixels are decided on before. With `image_size` the image, or
    the part of it in `box` (left, upper, right, lower), is stretched to that square by Pillow's
    bilinear filter, which antialiases, or takes the nearest pixels. EXIF orientation is followed.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    if image_size is not None:
        method = Image.Resampling[interpolation.upper()]
        image = image.resize((image_size, image_size), method, box)
    ImageOps.exif_transpose(image, in_place=True)  # last, when there are fewest pixels to move
    array = np.asarray(image)
    return array[..., None] if channels == 1 else array


def fit_images(images: npt.NDArray[np.uint8], settings: Dataset) -> npt.NDArray[np.uint8]:
    """Bring an array of images to the size and channels of the settings, as `to_array` does.

    Parameters
    ----------
    images : ndarray
        uint8, shape (N, H, W, C), C 1 or 3.
    settings : lsplus_tf.config.Dataset
        What `image_size` and `channels` leave open stays as it is.

    Returns
    -------
    ndarray
        uint8, shape (N, height, width, channels); `images` itself where nothing changes.
    """
    count, height, width, depth = images.shape
    size = settings.image_size
    target = (size or height, size or width, settings.channels or depth)
    if target == (height, width, depth):
        return images
    check_memory(count, *target, settings.name)
    if target[:2] == (height, width) and depth == 1:
        return np.repeat(images, 3, axis=3)
    fitted = np.empty((count, *target), np.uint8)

    def fit(index: int) -> None:
        fitted[index] = to_array(
            to_pillow(images[index]),
            channels=target[2],
            image_size=size,
            interpolation=settings.interpolation,
        )

    for_each(fit, count)
    return fitted


def for_each(function: Callable[[int], None], count: int) -> None:
    """Call `function` with 0..count-1 from as many threads as there are cores.

    Pillow decodes and resizes without holding the interpreter's lock, so threads are enough. The
    first exception that a call raises is raised here.
    """
    workers = os.cpu_count() or 1
    # A run of indices per task, since a task of one tiny image would cost more than the image; not
    # a long one, since those under way are finished when the user interrupts.
    step = max(1, min(256, count // (8 * workers)))

    def run(start: int) -> None:
        for index in range(start, min(start + step, count)):
            function(index)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(run, range(0, count, step)):
            pass
