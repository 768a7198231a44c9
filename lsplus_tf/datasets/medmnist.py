"""MedMNIST v2 and MedMNIST+: single-label sets of small medical images, one .npz file each."""

import hashlib
import re
import warnings
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
    """Classes, images per split, MD5s and licence of one set.

    From the table of the package medmnist 3.0.2. The MD5s are those of the files of 28, 64, 128
    and 224 pixels.
    """

    classes: tuple[str, ...]
    sizes: tuple[int, int, int]
    md5s: tuple[str, str, str, str]
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
        (
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
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
        (
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        licence="CC BY-NC 4.0",
    ),
    "octmnist": MedMnistSet(
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97477, 10832, 1000),
        (
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
    ),
    "pneumoniamnist": MedMnistSet(
        ("normal", "pneumonia"),
        (4708, 524, 624),
        (
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
    ),
    "retinamnist": MedMnistSet(
        ("0", "1", "2", "3", "4"),
        (1080, 120, 400),
        (
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
    ),
    "breastmnist": MedMnistSet(
        ("malignant", "normal, benign"),
        (546, 78, 156),
        (
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
    ),
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
        (
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
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
        (
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
    ),
    "organamnist": MedMnistSet(
        _ORGANS,
        (34561, 6491, 17778),
        (
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
    ),
    "organcmnist": MedMnistSet(
        _ORGANS,
        (12975, 2392, 8216),
        (
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
    ),
    "organsmnist": MedMnistSet(
        _ORGANS,
        (13932, 2452, 8827),
        (
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
    ),
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

    Warns
    -----
    UserWarning
        If the file is named and sized as an official one, and its MD5 is another.

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
    _check_md5(path, name, arrays)
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


def _check_md5(path: Path, name: str, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    """Warn of a file with the name and the numbers of images of an official one, but another MD5.

    It may be damaged, or hold the same arrays compressed in another way, so it is no error.
    """
    match = NAME_PATTERN.fullmatch(name)
    known = SETS.get(match["base"]) if match is not None else None
    if match is None or known is None:
        return
    if tuple(len(arrays[f"{key}_labels"]) for key in SPLIT_KEYS.values()) != known.sizes:
        return
    official = known.md5s[(None, *LARGER_SIZES).index(match["size"])]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != official:
        warnings.warn(
            f"{path}: MD5 {found}, expected {official} of the official file; its images or labels "
            "may be others",
            stacklevel=5,
        )


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
