"""What `datasets check` costs, and what its perceptual hash finds.

For each data set: seconds to decode every image once, and of the check, by the clock; pairs of
different images whose hashes are near, by the number of bits; and of made copies of a sample, the
share whose hash is so near to the original's.

    python benchmarks/bench_check.py folder:/data/cells csv:/data/table.csv
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time

import numpy as np
from PIL import Image, ImageEnhance
from rich.console import Console
from rich.table import Table

from lsplus_tf.datasets.check import check_dataset
from lsplus_tf.datasets.image_files import READ_ERRORS, decode_whole
from lsplus_tf.datasets.images import for_each
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.datasets.near_copies import near_pairs, perceptual_hash, thumbnail

LIMITS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48)


def saved(picture: Image.Image, **options: object) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, **options)
    return Image.open(file)


def cropped(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    x, y = share * width, share * height
    return picture.resize(picture.size, Image.Resampling.BICUBIC, (x, y, width - x, height - y))


COPIES = {
    "JPEG quality 90": lambda p: saved(p, format="JPEG", quality=90),
    "JPEG quality 50": lambda p: saved(p, format="JPEG", quality=50),
    "half the size": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC),
    "twice the size": lambda p: p.resize((p.width * 2, p.height * 2), Image.Resampling.BILINEAR),
    "another aspect": lambda p: p.resize((p.width, p.height * 3 // 4), Image.Resampling.BILINEAR),
    "brightness 0.8": lambda p: ImageEnhance.Brightness(p).enhance(0.8),
    "brightness 1.2": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "contrast 1.3": lambda p: ImageEnhance.Contrast(p).enhance(1.3),
    "in grey": lambda p: p.convert("L"),
    "sharpened": lambda p: ImageEnhance.Sharpness(p).enhance(2.0),
    "1% cut off each side": lambda p: cropped(p, 0.01),
    "3% cut off each side": lambda p: cropped(p, 0.03),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="folder:PATH or csv:FILE")
    parser.add_argument("--sample", type=int, default=500, help="images that are copied")
    arguments = parser.parse_args()
    console = Console()
    for name in arguments.names:
        measure(name, arguments.sample, console)


def measure(name: str, sample: int, console: Console) -> None:
    files = list_files(name)
    assert files is not None, name

    def decode(index: int) -> None:
        with Image.open(files.path(index)) as image:
            image.load()

    start = time.perf_counter()
    for_each(decode, len(files))
    once = time.perf_counter() - start
    start = time.perf_counter()
    report = check_dataset(files)
    check = time.perf_counter() - start
    console.print(
        f"{name}: {len(files)} images; decoded once in {once:.1f} s, checked in {check:.1f} s, "
        f"{check / once:.2f} times as long"
    )
    console.print(
        f"{len(report.identical)} groups identical, {report.identical_across('split')} across "
        f"splits, {report.identical_across('class_name')} across classes; near copies: "
        f"{report.near_within} pairs within, {report.near_across_splits} across splits, "
        f"{report.near_across_classes} across classes"
    )
    rng = np.random.default_rng(0)
    hashes = np.zeros((len(files), 4), np.uint64)

    def look(index: int) -> None:
        with contextlib.suppress(*READ_ERRORS):
            picture = decode_whole(files.path(index), None).picture
            hashes[index] = perceptual_hash(thumbnail(picture))

    for_each(look, len(files))
    start = time.perf_counter()
    found = np.concatenate([distance for *_, distance in near_pairs(hashes, max(LIMITS))])
    console.print(f"pairs of {len(files)} hashes: {time.perf_counter() - start:.1f} s")
    distances = {copy: [] for copy in COPIES}
    for index in rng.permutation(len(files))[:sample]:
        picture = decode_whole(files.path(index), None).picture
        for copy, make in COPIES.items():
            bits = perceptual_hash(thumbnail(make(picture))) ^ hashes[index]
            distances[copy].append(int(np.bitwise_count(bits).sum()))
    table = Table("bits", *map(str, LIMITS), box=None)
    table.add_row("pairs", *(str((found <= limit).sum()) for limit in LIMITS))
    for copy, values in distances.items():
        shares = (np.mean(np.array(values) <= limit) for limit in LIMITS)
        table.add_row(copy, *(f"{share:.1%}" for share in shares))
    console.print(table)


if __name__ == "__main__":
    main()
