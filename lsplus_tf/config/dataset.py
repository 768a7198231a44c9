"""The section of a config that says which images are taken, and how they become arrays.

Every option of a data set is declared here, once: `lsplus_tf.datasets.load_dataset` takes these
fields as its arguments, and their descriptions are its documentation as well as the configs'.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lsplus_tf.config.label_noise import LabelNoise
from lsplus_tf.config.settings import ClassName, Count, Fraction, Positive, Seed, Settings
from lsplus_tf.errors import MOST_PIXELS

FOLDER_PREFIX, CSV_PREFIX, NPZ_PREFIX, TFDS_PREFIX = "folder:", "csv:", "npz:", "tfds:"

# What only csv:PATH has: which column is what, and where the images are.
TABLE_OPTIONS = (
    *("path_column", "label_column", "label_columns", "group_column", "split_column"),
    "image_folder",
)

Interpolation = Literal["bilinear", "nearest"]
Background = Literal["black", "white"]
Defect = Literal["duplicates", "blank", "masks"]
_MOST_BYTES = 2**32  # of all phantoms together, or of their posterior or templates, in memory
_Number = Annotated[float, Field(ge=-1e38, le=1e38, strict=True)]  # as the others are bounded
_Percent = Annotated[float, Field(ge=0, le=100, strict=True)]


class Scaling(Settings):
    """How values of more than 8 bits become grey levels 0..255: by exactly one of its keys.

    Values between two limits are spread evenly, those beyond are cut, and the result is rounded.

    Examples
    --------
    >>> Scaling(window=(40, 400)).limits
    (-160.0, 240.0)
    """

    window: tuple[_Number, Positive] | None = Field(
        default=None, description="centre and width: from centre - width/2 to centre + width/2"
    )
    range: tuple[_Number, _Number] | None = Field(default=None, description="the two limits")
    percentiles: tuple[_Percent, _Percent] | None = Field(
        default=None, description="the limits are these percentiles of each image's own values"
    )

    @model_validator(mode="before")
    @classmethod
    def _two_numbers(cls, given: Any) -> Any:
        """Also as text, as command lines have it: window=40,400, and only the numbers of a key."""
        if isinstance(given, str) and "=" in given:
            key, _, numbers = given.partition("=")
            given = {key.strip(): numbers}
        if isinstance(given, Scaling):
            return given
        if not isinstance(given, dict):
            raise ValueError(
                f"expected a key and two numbers, as window=40,400, received {given or repr(given)}"
            )
        known = {key: given[key] for key in given if key in Scaling.model_fields}
        return given | {key: _listed(key, value) for key, value in known.items()}

    @model_validator(mode="after")
    def _says_one_thing(self) -> Scaling:
        given = [key for key in Scaling.model_fields if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of window, range and percentiles, received {len(given) or 'none'}"
            )
        for key in ("range", "percentiles"):
            limits = getattr(self, key)
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{key}: expected [low, high], received {list(limits)}")
        return self

    @property
    def limits(self) -> tuple[float, float] | None:
        """What becomes 0 and what becomes 255; None where each image has its own."""
        if self.window is not None:
            centre, width = self.window
            return centre - width / 2, centre + width / 2
        return self.range


def _listed(key: str, given: Any) -> Any:
    """Two numbers, or what is given for them, as a list: text becomes one."""
    listed = given
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            listed = [float(number) for number in given.strip("[] ").split(",")]
    if given is not None and not (isinstance(listed, list | tuple) and len(listed) == 2):
        raise ValueError(
            f"{key}: expected two numbers, as [40,400], received {given or repr(given)}"
        )
    return listed


class Phantom(Settings):
    """Synthetic images with an exact posterior; see `lsplus_tf.datasets.known.phantom`."""

    seed: Seed = Field(default=0, description="of the templates and of all images")
    classes: Annotated[int, Field(ge=2, le=1000, strict=True)] = Field(
        default=6, description="the number of classes"
    )
    separation: tuple[Positive, ...] = Field(
        default=(1.8, 2.8),
        min_length=1,
        description="one number for each group of look-alikes, which share the classes evenly: the "
        "length of the part that is a class's own, in SDs of the noise",
    )
    prior: tuple[Positive, ...] | None = Field(
        default=None, description="relative frequencies of the classes; null makes them equal"
    )
    image_size: Annotated[int, Field(ge=4, le=1024, strict=True)] = Field(
        default=16, description="height and width in pixels"
    )
    shift: Annotated[int, Field(ge=0, le=512, strict=True)] = Field(
        default=1, description="largest shift in pixels, along each axis"
    )
    rotations: Annotated[int, Field(gt=0, le=360, strict=True)] = Field(
        default=1, description="orientations, evenly over the circle"
    )
    noise: Annotated[float, Field(ge=0.1, le=1000, strict=True)] = Field(
        default=25.0, description="SD of the noise in grey levels"
    )
    train: Count = Field(default=4000, description="training images")
    validation: Count = Field(default=1000, description="validation images")
    test: Count = Field(default=4000, description="test images")

    @model_validator(mode="after")
    def _fits_the_classes(self) -> Phantom:
        if len(self.separation) > self.classes:
            raise ValueError(
                f"separation: expected at most {self.classes} groups (classes), "
                f"received {len(self.separation)}"
            )
        if self.prior is not None and len(self.prior) != self.classes:
            raise ValueError(
                f"prior: expected {self.classes} numbers (classes), received {len(self.prior)}"
            )
        if self.shift >= self.image_size / 2:
            raise ValueError(
                f"shift: expected less than half of image_size {self.image_size}, "
                f"received {self.shift}"
            )
        pixels = self.image_size**2
        poses = self.rotations * (2 * self.shift + 1) ** 2
        images = self.train + self.validation + self.test
        for what, count, size in (
            ("train, validation and test", images, max(pixels, 8 * self.classes)),
            ("classes, rotations and shift", self.classes * poses, pixels),  # the templates
        ):
            if count * size > _MOST_BYTES:
                raise ValueError(
                    f"{what}: expected at most {_MOST_BYTES // size} images of "
                    f"{self.image_size}x{self.image_size} pixels, received {count}"
                )
        return self


class Dataset(Settings):
    """Which images, and how they become arrays.

    In Python these keys are the arguments of `lsplus_tf.datasets.load_dataset`:
    ``load_dataset("folder:scans", image_size=96)``.
    """

    name: str = Field(
        description="a known data set, as `lsplus-tf datasets` lists them, such as 'digits'; "
        "'folder:PATH', image files in folders; 'csv:PATH', image files that a table "
        "names; 'npz:PATH', arrays of images and labels in MedMNIST's layout; 'tfds:NAME', a set "
        "of TensorFlow Datasets with features 'image' and 'label'; or NAME, where data_dir has a "
        "NAME.npz in MedMNIST's layout"
    )
    data_dir: Path | None = Field(
        default=None,
        description="where the files of a data set with a name of its own lie: in this folder, or "
        "in a folder of the set's usual name in it",
    )
    image_size: Annotated[int, Field(ge=4, le=MOST_PIXELS, strict=True)] | None = Field(
        default=None,
        description="height and width that images are stretched to; without it all have one size "
        "already",
    )
    channels: Literal[1, 3] | None = Field(
        default=None,
        description="1 converts colour to ITU-R 601 luma, 3 repeats grey; without it files stay as "
        "they are, all grey or all colour, where palette images count as colour",
    )
    background: Background | None = Field(
        default=None,
        description="what image files show where they are transparent. Without it those that are "
        "so anywhere are refused, since the colours of such pixels are arbitrary; an alpha channel "
        "of none is dropped",
    )
    scaling: Scaling | None = Field(
        default=None,
        description="how image files of more than 8 bits per channel (16-bit grey PNG and TIFF, "
        "DICOM) become 8-bit ones: {window: [centre, width]}, {range: [low, high]} or "
        "{percentiles: [low, high]} of each image. Without it they are refused; files of 8 bits "
        "stay as they are",
    )
    split_seed: Seed = Field(
        default=0,
        description="which samples a split takes that is carved, and which `samples_per_class`",
    )
    validation_fraction: Fraction = Field(
        default=0.2,
        description="size of the validation split where the data set has none, as a share of its "
        "training split before anything is carved from it, rounded up; stratified by class. Where "
        "samples have groups (patients, lesions, slides) a group is never in two splits, and the "
        "share is only about what is asked for",
    )
    test_fraction: Fraction = Field(default=0.2, description="the same of the test split")
    unreadable: Literal["fail", "skip"] = Field(
        default="fail",
        description="whether image files that cannot be read are an error, or are left out with a "
        "warning: before splits are carved and `samples_per_class` are drawn if it is their "
        "header, and after if it is their pixels. With `cache` none an error comes when the file "
        "is used, and skip decodes all files once to find out. Files of more than 8 bits per "
        "channel without `scaling` are an error in either case",
    )
    download: bool = Field(
        default=False,
        description="let TensorFlow Datasets download and prepare the set; without it the network "
        "is never used",
    )
    interpolation: Interpolation = Field(
        default="bilinear",
        description="how images are stretched: antialiased, where JPEGs of twice the size or more "
        "are first reduced while they are decoded; or the nearest pixel, as the LS+ authors did",
    )
    cache: Literal["memory", "disk", "none"] = Field(
        default="memory",
        description="image files are decoded once into memory, once into a file under `cache_dir` "
        "(which is used again as long as the images do not change), or every time. The pixels are "
        "the same. On disk needs the file locks of Linux and macOS",
    )
    cache_dir: Path | None = Field(
        default=None,
        description="for `cache` disk; without it ~/.cache/lsplus_tf/images",
    )
    class_pattern: str | None = Field(
        default=None,
        description="for folder:PATH whose first folders are not the classes, a regular expression "
        "whose first parenthesis (or all of it), as found in the path of a file below the folder, "
        "names its class: `([^/]+)/[^/]+$` for the last folder, `^[a-z]+` for cat.1.jpg",
    )
    group_pattern: str | None = Field(
        default=None,
        description="for folder:PATH and csv:PATH, a regular expression whose first parenthesis "
        "(or all of it), as found in the path of a file below the folder, names its group, such as "
        "the patient: `([^/]*)-IMG` for SLIDE-IMG001.JPG",
    )
    samples_per_class: Count | None = Field(
        default=None, description="train on a random sample of this many images of each class"
    )
    label_noise: LabelNoise | None = Field(
        default=None,
        description="wrong labels on purpose, after all else is drawn: a `share` of the training "
        "and validation labels of each class become those of others, evenly or of look-alikes. The "
        "test split, images, ids, votes and a known posterior stay as they are",
    )
    drop: tuple[Defect, ...] = Field(
        default=(),
        description="what to leave out of image files, with a warning, before anything is carved. "
        "Blank images have an SD below one grey level over the pixels of every channel. Of files "
        "with the same pixels one stays: in the test split if it is there, else in validation, "
        "else in train; none stays where their labels differ. To find these, all files are decoded "
        "once more. Masks are called as another image in their folder, with `_mask`, `_gt`, "
        "`_label` and the like behind, or as one of their class beside the folder `masks`, `GT`, "
        "`labels` and the like that they lie in",
    )
    path_column: ClassName | None = Field(
        default=None,
        description="for csv:PATH, the column of image files; without it `path`, or the only "
        "column of a usual name, such as `image_id` or `filename`. A missing suffix is found",
    )
    label_column: ClassName | None = Field(
        default=None,
        description="for csv:PATH, the column of classes; without it `label`, or the only column "
        "of a usual name, such as `dx` or `diagnosis`",
    )
    label_columns: tuple[ClassName, ...] = Field(
        default=(),
        description="for csv:PATH, in place of one column of classes, a column for each class, "
        "which it names: every row has one 1, otherwise 0",
    )
    group_column: ClassName | None = Field(
        default=None,
        description="for csv:PATH, the column of groups, such as patients; without it `group`, or "
        "the only column of a usual name, such as `patient_id`, unless `group_pattern` is set; '' "
        "for none",
    )
    split_column: ClassName | None = Field(
        default=None,
        description="for csv:PATH, the column of splits; without it `split`, or the only column of "
        "a usual name that holds names of splits, or of any name that holds no others; '' for none",
    )
    image_folder: Path | None = Field(
        default=None,
        description="for csv:PATH, where paths start, relative to the table's folder or to the "
        "current one, or absolute; without it in the table's folder, or in the folders beside it "
        "if each image is in one and no other. Folders of another computer that all paths begin "
        "with are removed where each image is found then",
    )
    unlisted: Literal["fail", "ignore"] = Field(
        default="fail",
        description="for csv:PATH, whether images without a row, in the folders of those that have "
        "one, are an error",
    )
    phantom: Phantom | None = Field(
        default=None, description="what the data set named phantom is, and of no other"
    )

    @model_validator(mode="before")
    @classmethod
    def _phantom_in_full(cls, values: Any) -> Any:
        # So that the settings of a run hold the defaults that it had.
        if isinstance(values, dict) and values.get("name") == "phantom":
            return {**values, "phantom": values.get("phantom") or {}}
        return values

    @model_validator(mode="after")
    def _fractions_leave_something(self) -> Dataset:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                "validation_fraction + test_fraction: expected less than 1, received "
                f"{self.validation_fraction} + {self.test_fraction}"
            )
        return self

    @model_validator(mode="after")
    def _only_what_the_data_set_has(self) -> Dataset:
        is_table, is_phantom = self.name.startswith(CSV_PREFIX), self.name == "phantom"
        for key in TABLE_OPTIONS:
            if getattr(self, key) != type(self).model_fields[key].default and not is_table:
                raise ValueError(f"{key}: expected none for {self.name!r}, which is no csv:PATH")
        if self.label_columns:
            if self.label_column is not None:
                raise ValueError("label_columns: expected none beside label_column")
            if len(set(self.label_columns)) < max(2, len(self.label_columns)):
                raise ValueError(
                    "label_columns: expected two or more columns, each once, received "
                    f"{', '.join(self.label_columns)}"
                )
        if self.class_pattern is not None and not self.name.startswith(FOLDER_PREFIX):
            raise ValueError(
                f"class_pattern: expected none for {self.name!r}, which is no folder:PATH"
            )
        if self.group_pattern is not None:
            if not is_table and not self.name.startswith(FOLDER_PREFIX):
                raise ValueError(
                    f"group_pattern: expected none for {self.name!r}, which is no folder:PATH or "
                    "csv:PATH"
                )
            if self.group_column:
                raise ValueError("group_pattern: expected none beside group_column")
        if self.unlisted != "fail" and not is_table:
            raise ValueError(f"unlisted: expected 'fail' for {self.name!r}, which is no csv:PATH")
        if self.phantom is not None and not is_phantom:
            raise ValueError(f"phantom: only the data set phantom has it, not {self.name}")
        if self.image_size is not None and is_phantom:
            # Resized images would have another posterior.
            raise ValueError("image_size: expected none for 'phantom'; set phantom.image_size")
        if self.samples_per_class is not None and is_phantom:
            # It would change the classes' prior.
            raise ValueError("samples_per_class: expected none for 'phantom'; set phantom.train")
        return self

    @property
    def image_shape(self) -> tuple[int | None, int | None, int | None]:
        """Height, width and channels of the images, None for what they say themselves."""
        return self.image_size, self.image_size, self.channels
