"""MedMNIST v2 and MedMNIST+: single-label sets of small medical images, one .npz file each."""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import Interpolation, fit_images
from lsplus_tf.errors import InputError, MissingDataError

HOMEPAGE = "https://medmnist.com"
DOWNLOAD = "https://zenodo.org/records/10519652"
NAME_PATTERN = re.compile(r"(?P<base>\w+?mnist)(?P<size>_64|_128|_224)?")
LARGER_SIZES = ("_64", "_128", "_224")
SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}

_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)


@dataclass(frozen=True)
class MedMnistSet:
    """Classes, images per split and licence of one set, as MedMNIST 3.0.2 publishes them."""

    classes: tuple[str, ...]
    sizes: tuple[int, int, int]
    licence: str = "CC BY 4.0"


SETS = {
    "pathmnist": MedMnistSet(
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        (89996, 10004, 7180),
    ),
    "dermamnist": MedMnistSet(
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        (7007, 1003, 2005),
        licence="CC BY-NC 4.0",
    ),
    "octmnist": MedMnistSet(
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97477, 10832, 1000),
    ),
    "pneumoniamnist": MedMnistSet(("normal", "pneumonia"), (4708, 524, 624)),
    "retinamnist": MedMnistSet(("0", "1", "2", "3", "4"), (1080, 120, 400)),
    "breastmnist": MedMnistSet(("malignant", "normal, benign"), (546, 78, 156)),
    "bloodmnist": MedMnistSet(
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        (11959, 1712, 3421),
    ),
    "tissuemnist": MedMnistSet(
        (
            "collecting duct, connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cells",
            "interstitial endothelial cells",
            "leukocytes",
            "podocytes",
            "proximal tubule segments",
            "thick ascending limb",
        ),
        (165466, 23640, 47280),
    ),
    "organamnist": MedMnistSet(_ORGANS, (34561, 6491, 17778)),
    "organcmnist": MedMnistSet(_ORGANS, (12975, 2392, 8216)),
    "organsmnist": MedMnistSet(_ORGANS, (13932, 2452, 8827)),
}


def load_medmnist(
    name: str,
    *,
    data_dir: Path | None,
    image_size: int | None,
    channels: int | None,
    interpolation: Interpolation,
) -> ImageDataset:
    """Load `data_dir`/`name`.npz with the splits that it has.

    Parameters
    ----------
    name : str
        Such as "pneumoniamnist" or "dermamnist_64". For a set that `SETS` does not know the
        classes are "0", "1" and so on up to the largest label.
    data_dir, image_size, channels, interpolation
        As in `load_dataset`.

    Raises
    ------
    MissingDataError
        If there is no such file; the message says where to get and put it.
    InputError
        If the file cannot be read, or is no single-label set of uint8 images.
    """
    if data_dir is None:
        raise MissingDataError(
            f"{name}: expected the folder that holds {name}.npz, received no data_dir; get the "
            f"file from {DOWNLOAD} ({HOMEPAGE}) and give its folder with --data-dir"
        )
    path = data_dir / f"{name}.npz"
    if not path.is_file():
        raise MissingDataError(
            f"{name}: {path} not found; get {name}.npz (MedMNIST v2) from {DOWNLOAD} "
            f"({HOMEPAGE}), put it there or give its folder with --data-dir"
        )
    arrays = _read_arrays(path)
    splits: dict[str, Split] = {}
    for part, key in SPLIT_KEYS.items():
        images, labels = _check_split(path, key, arrays)
        splits[part] = Split(
            fit_images(
                images,
                image_size=image_size,
                channels=channels,
                interpolation=interpolation,
                name=name,
            ),
            labels,
            np.array([f"{key}-{index:06d}" for index in range(len(labels))]),
        )
    match = NAME_PATTERN.fullmatch(name)
    if match is not None and match["base"] in SETS:
        class_names = SETS[match["base"]].classes
    else:
        largest = max(int(split.labels.max()) for split in splits.values())
        class_names = tuple(str(k) for k in range(largest + 1))
    return ImageDataset(
        name=name,
        class_names=class_names,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def _read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the six arrays of a MedMNIST file."""
    keys = [f"{key}_{kind}" for key in SPLIT_KEYS.values() for kind in ("images", "labels")]
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: cannot be read as a .npz file, it may be cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            if not missing:
                return {key: archive[key] for key in keys}
            found = sorted(archive.keys())
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read as a .npz file, it may be damaged ({error})"
        ) from error
    raise InputError(f"{path}: key {missing[0]!r} is missing, found {found}")


def _check_split(
    path: Path, key: str, arrays: dict[str, npt.NDArray[np.generic]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images (N, H, W, C) and labels (N,) of one split."""
    images, labels = arrays[f"{key}_images"], arrays[f"{key}_labels"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise InputError(
            f"{path}: {key}_images: expected uint8 of shape (N, H, W) or (N, H, W, 3), "
            f"received {images.dtype} of shape {arrays[f'{key}_images'].shape}"
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(
            f"{path}: {key}_labels: expected one label per image, received {labels.shape[1]}; "
            "multi-label sets are not supported"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim not in (1, 2):
        raise InputError(
            f"{path}: {key}_labels: expected integers of shape (N, 1), "
            f"received {labels.dtype} of shape {labels.shape}"
        )
    if len(images) == 0 or labels.size != len(images):
        raise InputError(
            f"{path}: {key}: expected as many labels as images and at least one, "
            f"received {len(images)} images and {labels.size} labels"
        )
    return images.astype(np.uint8, copy=False), labels.reshape(-1).astype(np.int64)
