"""A process that is killed between the two renames of a replaced folder leaves one of both."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lsplus_tf import files
from lsplus_tf.auditing.output import AUDIT
from lsplus_tf.deployment.exporting import export_kind
from lsplus_tf.experiments.folder import REPORT_FOLDER
from lsplus_tf.files import FolderKind, OutputError, writing, written_whole
from lsplus_tf.paper.report import HEADING, PAPER_REPORT
from lsplus_tf.results.joined import JOINED_FOLDER

# Of each kind that is replaced: the file that marks it, and another of its parts.
REPLACED: dict[str, tuple[FolderKind, dict[str, str]]] = {
    kind.what: (kind, parts)
    for kind, parts in (
        (AUDIT, {"audit.json": '{"format": "lsplus_tf audit"}', "metrics.csv": ""}),
        (REPORT_FOLDER, {"table.md": "# digits: test split\n", "report.html": ""}),
        (JOINED_FOLDER, {"table.md": "# grid: test splits\n", "report.html": ""}),
        (PAPER_REPORT, {"report.md": HEADING, "checks.csv": ""}),
        (
            export_kind("served"),
            {"assets.extra/lsplus_tf.json": '{"format": "lsplus_tf export"}', "saved_model.pb": ""},
        ),
    )
}


def test_these_are_all_kinds():
    """Whoever writes another kind of folder that is replaced adds it above."""
    source = "".join(p.read_text() for p in Path(files.__file__).parent.rglob("*.py"))
    made = source.count("= files.FolderKind(") - source.count("parts=None")
    assert made == len(REPLACED)


def put(folder: Path, parts: dict[str, str], text: str) -> None:
    for name, begin in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(begin + text)


def content(folder: Path, parts: dict[str, str]) -> str:
    """What is whole in a folder."""
    (text,) = {(folder / name).read_text().removeprefix(parts[name]) for name in parts}
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there == {*parts}
    return text


def killed_at_rename(
    number: int, write: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> int:
    """The signal by which a fork dies that writes, before a rename; 0 if it does not."""
    child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    try:
        replace, left = os.replace, [number]

        def dying(source: object, target: object) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        monkeypatch.setattr(os, "replace", dying)
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
        write()
    finally:
        os._exit(0)


@pytest.mark.parametrize(("kind", "parts"), REPLACED.values(), ids=REPLACED)
def test_killed_between_the_renames(tmp_path, monkeypatch, kind, parts):
    out = tmp_path / "out"

    def write(text: str) -> None:
        with writing(out, kind) as new:
            put(new, parts, text)

    put(out, parts, "\nold")
    assert files.check_output(out, kind) == out
    for number, left in ((1, "old"), (2, "none"), (99, "new")):
        died = killed_at_rename(number, lambda: write("\nnew"), monkeypatch)
        assert died == (0 if left == "new" else signal.SIGKILL)
        assert out.exists() == (left != "none")
        if left == "old":
            assert content(out, parts) == "\nold"
        if left == "none":
            # The next call puts it back, also one that fails, or one that finds it as it was.
            with contextlib.suppress(OutputError), writing(out, kind):
                assert content(out, parts) == "\nold"
                (out / "notes.txt").write_text("mine")
            (out / "notes.txt").unlink()
            assert content(out, parts) == "\nold"
            assert killed_at_rename(2, lambda: write("\nnew"), monkeypatch) == signal.SIGKILL
            assert not out.exists()
    # After the second kill the next call put the new one there.
    assert content(out, parts) == "\nnew"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_ours_that_is_put_where_nothing_is(tmp_path, monkeypatch):
    out, parts = tmp_path / "out", {"a": "", "b": ""}

    def write() -> None:
        with written_whole(out) as new:
            put(new, parts, "new")

    assert killed_at_rename(1, write, monkeypatch) == signal.SIGKILL
    assert not out.exists()
    assert len([*tmp_path.iterdir()]) == 1
    assert killed_at_rename(2, write, monkeypatch) == 0
    assert content(out, parts) == "new"
    # And over one that is there, which stays.
    with pytest.raises(OSError, match="out"):
        write()
    assert content(out, parts) == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
