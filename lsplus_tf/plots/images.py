"""A sheet of example images, a row of them for every class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from PIL import Image

from lsplus_tf.errors import InputError
from lsplus_tf.plots import _shared

TILE = 96
_GAP = 4
_DOTS_PER_INCH = 100
_ROOM_FOR_NAMES = 2.5  # inches, or more for long ones
_OF_A_LETTER = 0.09  # inches


def contact_sheet(
    examples: Mapping[str, Sequence[npt.NDArray[np.uint8]]], *, ax: Axes | None = None
) -> Axes:
    """Example images in a row per class.

    Parameters
    ----------
    examples : mapping of str to sequence of ndarray
        The images of each class: uint8, shape (H, W, 1) or (H, W, 3). They may differ in size and
        number. Large ones are reduced to `TILE` pixels, small ones are enlarged by whole pixels.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        With the names of the classes along the vertical axis. A new figure, saved with its own
        number of dots per inch, shows about every pixel of the sheet.

    Raises
    ------
    InputError
        If there is no class or no image, or one is no uint8 image.

    Examples
    --------
    >>> import numpy as np
    >>> ax = contact_sheet({"dark": [np.zeros((28, 28, 1), np.uint8)]})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['dark']
    """
    columns = max((len(images) for images in examples.values()), default=0)
    if not columns:
        raise InputError("examples: expected at least one class and one image")
    step = TILE + _GAP
    sheet = np.full((len(examples) * step, columns * step, 3), 255, np.uint8)
    for row, (class_name, images) in enumerate(examples.items()):
        for column, image in enumerate(images):
            tile = _tile(image, class_name)
            # In the middle of its place.
            top = row * step + (step - tile.shape[0]) // 2
            left = column * step + (step - tile.shape[1]) // 2
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    if ax is None:
        height, width = sheet.shape[0] / _DOTS_PER_INCH, sheet.shape[1] / _DOTS_PER_INCH
        longest = max(len(line) for name in examples for line in f"{name}\n".splitlines())
        ax = _shared.new_axes(width + max(_ROOM_FOR_NAMES, longest * _OF_A_LETTER), height)
        ax.figure.set_dpi(_DOTS_PER_INCH)
    ax.imshow(sheet)
    ax.set_yticks((np.arange(len(examples)) + 0.5) * step, list(examples))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _tile(image: Any, class_name: str) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3), its longer side as near `TILE` as described."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise InputError(
            f"examples: class {class_name!r}: expected uint8 images of shape (H, W, 1) or "
            f"(H, W, 3), received {image.dtype} of shape {image.shape}"
        )
    longest = max(image.shape[:2])
    if longest > TILE:
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture.thumbnail((TILE, TILE))
        image = np.atleast_3d(np.asarray(picture))
    else:
        enlarged = TILE // longest
        image = image.repeat(enlarged, 0).repeat(enlarged, 1)
    return np.broadcast_to(image, (*image.shape[:2], 3))
