"""What columns are usually called, in tables of images and in files of predictions.

Headings are compared without regard to capitals, blanks, "_" and "-".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Role = Literal[
    "path",
    "label",
    "truth",
    "class",
    "group",
    "split",
    "predicted",
    "confidence",
    "probabilities",
    "logits",
]

# Only such as mean one thing: a column "id" may be the image's or the patient's.
_USUAL: dict[Role, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filepath", "filename", "fname", "imagepath", "imagefile"),
        *("imagefilename", "image", "images", "imagename", "imageid", "imageindex"),
        *("img", "imgpath", "imgfile", "imgname", "imgid", "idcode"),
    ),
    "label": (
        *("label", "labels", "truelabel", "truelabels", "trueclass", "ytrue"),
        *("target", "targets", "groundtruth", "gt", "diagnosis", "diagnostic", "dx"),
        *("truth", "actual", "actuallabel", "actualclass"),
    ),
    # Beside one of these they may be the label, which is then perhaps the predicted class.
    "truth": ("true", "reference", "referencelabel", "referencestandard", "gold", "goldstandard"),
    # The label too, unless there is something else that it may be, as the predicted class.
    "class": ("class", "classname", "category", "level"),
    "group": (
        *("group", "groups", "groupid", "patient", "patientid", "lesionid"),
        *("subject", "subjectid", "slideid"),
    ),
    "split": ("split", "splits", "set", "subset", "partition", "fold", "phase"),
    "predicted": (
        *("predicted", "prediction", "predictedlabel", "predictedclass", "pred", "ypred"),
    ),
    "confidence": ("confidence", "confidences"),
    # A single column of scores, of one class or with a list in each cell.
    "probabilities": (
        *("probabilities", "probability", "probs", "prob", "proba", "yprob", "yproba"),
        *("yscore", "score", "scores"),
    ),
    "logits": ("logits", "logit"),
}
_PREDICTED = re.compile(r"pred(s|ict(ed|ions?|s)?)?((label|class|name|id)(e?s)?)*$")
_MEASURED = re.compile(r"prob|conf|scor|logit")
_CELL = re.compile(
    r"[-+]?[0-9]*[.,][0-9]+(?:e[-+]?[0-9]+)?|.+\.(?:png|jpe?g|tiff?|bmp|gif|webp|dcm)", re.I
)


def usual(names: Iterable[str], *roles: Role) -> list[str]:
    """The names by which columns of one of the roles are usually called, each once."""
    expected = {name for role in roles for name in _USUAL[role]}
    return [name for name in dict.fromkeys(names) if _plain(name) in expected]


def called(names: Iterable[str], role: str) -> list[str]:
    """The names that are the role's own, "group" or "groups", each once."""
    return [name for name in dict.fromkeys(names) if _plain(name) in (role, f"{role}s")]


def look_predicted(names: Iterable[str]) -> list[str]:
    """The names that speak of a predicted class, whatever else is in them, such as "cnn_pred"."""
    plain = {name: _plain(name) for name in names}
    return [
        name
        for name, letters in plain.items()
        if _PREDICTED.search(letters) and not _MEASURED.search(letters)
    ]


def if_no_heading(names: Iterable[str]) -> str:
    """A remedy where a number or the name of an image is among the names of columns; else ""."""
    if any(map(_CELL.fullmatch, names)):
        return "; the first line seems to be no heading: write the names of the columns above it"
    return ""


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
