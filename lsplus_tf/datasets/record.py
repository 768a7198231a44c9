"""What is known of a data set before its files are read: a record, one for each set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.errors import MissingDataError


@dataclass(frozen=True, kw_only=True)
class Record:
    """A data set that is known by name.

    Its files lie in a folder, or there are none. It is read by one of two functions: `list_files`
    for image files, of which `lsplus_tf.datasets.builders` also makes the TFDS builder, or `load`
    for everything else.

    Attributes
    ----------
    name : str
        What `load_dataset` takes: "name", or "name/variant" for another split of the same files.
    source : str
        What the images are, in a line.
    licence : str
        Licence or terms of access.
    get : str
        Where to get it.
    classes : tuple of str
        Class names, label k is the k-th; empty where they depend on the files.
    sizes : mapping of str to int
        Official numbers of images in "train", "validation" and "test", all three, or "all" where
        splits are carved; empty where they depend on the files.
    mark : str
        The file or folder by which its folder is known; "" for a set without files.
    folders : tuple of str
        Usual names of its folder, below the one that the user names; the first is recommended.
    contents : str
        What belongs into the folder; `mark` by default.
    rare : bool
        Whether it is listed only where its files are.
    list_files : callable or None
        From the folder to the image files with their labels and splits.
    load : callable or None
        From the settings and the folder to the data set.
    description : str or None
        Some sentences on labels, groups, votes and splits: its module's docstring.
    citation : str
        BibTeX.
    groups, votes : bool
        Whether files may come with groups, such as slides, and with annotators' votes.
    positive : tuple of str or tuple
        The classes that matter most, with which reports lead where a config names none; several
        that count as one are a tuple.
    variant : str
        Of sets with several splits of the same files, the configuration of the TFDS builder.

    Examples
    --------
    >>> from lsplus_tf.datasets.known import RECORDS
    >>> RECORDS["digits"].sizes, RECORDS["digits"].put()
    ({'all': 1797}, 'nowhere, always there')
    """

    name: str
    source: str
    licence: str
    get: str
    classes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    mark: str = ""
    folders: tuple[str, ...] = ()
    contents: str = ""
    rare: bool = False
    list_files: Callable[[Path], FileList] | None = None
    load: Callable[[Dataset, Path], ImageDataset] | None = None
    description: str | None = None
    citation: str = ""
    groups: bool = False
    votes: bool = False
    positive: tuple[str | tuple[str, ...], ...] = ()
    variant: str = ""

    @property
    def base_name(self) -> str:
        """The name without the variant."""
        return self.name.partition("/")[0]

    def put(self, data_dir: Path | str = "DATA_DIR") -> str:
        """Where its files belong."""
        if not self.mark:
            return "nowhere, always there"
        folder = self._recommended(data_dir)
        return f"{folder}: {self.contents}" if self.contents else f"{folder}/{self.mark}"

    def _recommended(self, data_dir: Path | str) -> str:
        return "/".join([str(data_dir), *self.folders[:1]])

    def find(self, data_dir: Path | None) -> Path | None:
        """The folder with its files: `data_dir` or one of the usual names in it; None if neither.

        Of a set without files it is the current folder.
        """
        if not self.mark:
            return Path()
        if data_dir is None:
            return None
        candidates = (data_dir, *(data_dir / folder for folder in self.folders))
        return next((folder for folder in candidates if (folder / self.mark).exists()), None)

    def require(self, data_dir: Path | None) -> Path:
        """The folder with its files; `MissingDataError` says where to get and put them."""
        folder = self.find(data_dir)
        if folder is not None:
            return folder
        looked = "received no data_dir (--data-dir)"
        if data_dir is not None:
            others = f", nor have its folders {', '.join(self.folders)}" if self.folders else ""
            looked = f"{data_dir} has none{others}"
        raise MissingDataError(
            f"{self.name}: expected a folder with {self.mark}, {looked}; get it from {self.get} "
            f"({self.licence}) and put {self.contents or self.mark} into "
            f"{self._recommended(data_dir or 'DATA_DIR')}"
        )


def sizes(train: int, validation: int, test: int) -> dict[str, int]:
    """The numbers of images of three splits, as a record has them."""
    return {"train": train, "validation": validation, "test": test}
