"""MedMNIST v2 and MedMNIST+: single-label sets of small medical images, one .npz file each."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.npz import load_npz
from lsplus_tf.datasets.record import Record, sizes

_PIXELS = (28, 64, 128, 224)
_CITATION = """\
@article{yang2023medmnist,
  title = {MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
           classification},
  author = {Yang, Jiancheng and Shi, Rui and Wei, Donglai and Liu, Zequan and Zhao, Lin and
            Ke, Bilian and Pfister, Hanspeter and Ni, Bingbing},
  journal = {Scientific Data},
  volume = {10},
  pages = {41},
  year = {2023},
}
"""

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
class _Set:
    """Classes, images per split, MD5s of the files of 28, 64, 128 and 224 pixels, and licence.

    From the table of the package medmnist 3.0.2.
    """

    classes: tuple[str, ...]
    sizes: tuple[int, int, int]
    md5s: tuple[str, str, str, str]
    licence: str = "CC BY 4.0"
    positive: tuple[str | tuple[str, ...], ...] = ()


_SETS = {
    "pathmnist": _Set(
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
    "dermamnist": _Set(
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
        positive=("melanoma",),
    ),
    "octmnist": _Set(
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97477, 10832, 1000),
        (
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
    ),
    "pneumoniamnist": _Set(
        ("normal", "pneumonia"),
        (4708, 524, 624),
        (
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        positive=("pneumonia",),
    ),
    "retinamnist": _Set(
        ("0", "1", "2", "3", "4"),
        (1080, 120, 400),
        (
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
    ),
    "breastmnist": _Set(
        ("malignant", "normal, benign"),
        (546, 78, 156),
        (
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        positive=("malignant",),
    ),
    "bloodmnist": _Set(
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
    "tissuemnist": _Set(
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
    "organamnist": _Set(
        _ORGANS,
        (34561, 6491, 17778),
        (
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
    ),
    "organcmnist": _Set(
        _ORGANS,
        (12975, 2392, 8216),
        (
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
    ),
    "organsmnist": _Set(
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


def _load(settings: Dataset, folder: Path, *, known: _Set, md5: str) -> ImageDataset:
    """Load the file, and warn if it holds as many images as the official one with another MD5.

    It may be damaged, or hold the same arrays compressed in another way, so it is no error.
    """
    path = folder / f"{settings.name}.npz"
    dataset = load_npz(path, settings, known.classes)
    if tuple(len(split) for _, split in dataset.splits()) == known.sizes:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if digest.hexdigest() != md5:
            warnings.warn(
                f"{path}: MD5 {digest.hexdigest()}, expected {md5} of the official file; its "
                "images or labels may be others",
                stacklevel=4,
            )
    return dataset


def _records() -> Iterator[Record]:
    """A record for each set and size; the larger ones are told where they are."""
    for base, known in _SETS.items():
        for pixels, md5 in zip(_PIXELS, known.md5s, strict=True):
            name = base if pixels == _PIXELS[0] else f"{base}_{pixels}"
            yield Record(
                name=name,
                source=f"MedMNIST v2, {pixels}x{pixels}",
                licence=known.licence,
                get="https://zenodo.org/records/10519652 (https://medmnist.com)",
                classes=known.classes,
                sizes=sizes(*known.sizes),
                mark=f"{name}.npz",
                rare=pixels != _PIXELS[0],
                load=partial(_load, known=known, md5=md5),
                positive=known.positive,
                citation=_CITATION,
            )


RECORDS = tuple(_records())
