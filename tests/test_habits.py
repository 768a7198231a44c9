"""The repository's habits: one pin of a thing, few permissions, and releases that are checked."""

from __future__ import annotations

import configparser
import re
import runpy
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT

import lsplus_tf

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
problems = runpy.run_path(str(ROOT / ".ci" / "check_release.py"))["problems"]
place = runpy.run_path(str(ROOT / ".ci" / "place_docs.py"))["place"]
READ = ("lsplus_tf/version.py", "CITATION.cff", "CHANGELOG.md")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs_of(path: Path) -> dict[str, dict[str, Any]]:
    return read(path)["jobs"]


def test_pre_commit_runs_the_ruff_of_the_requirements():
    pins = (ROOT / "requirements-test.txt").read_text(encoding="utf-8")
    repositories = {
        Path(each["repo"]).name: each for each in read(ROOT / ".pre-commit-config.yaml")["repos"]
    }
    pinned = re.search(r"^ruff==(\S+)$", pins, flags=re.M)
    assert pinned is not None
    assert repositories["ruff-pre-commit"]["rev"] == f"v{pinned[1]}"
    assert all(re.fullmatch(r"v[\d.]+", each["rev"]) for each in repositories.values())


def test_editors_and_ruff_agree_on_lines():
    editors = configparser.ConfigParser()
    text = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    editors.read_string("[top]\n" + text)
    ruff = tomllib.loads((ROOT / "ruff.toml").read_text(encoding="utf-8"))
    assert int(editors["*.py"]["max_line_length"]) == ruff["line-length"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_few_permissions_and_end(path: Path):
    assert read(path)["permissions"] == {"contents": "read"}
    for name, job in jobs_of(path).items():
        asked = {key for key, value in job.get("permissions", {}).items() if value == "write"}
        # Only the job that pushes the documentation writes to the repository.
        allowed = {"contents"} if name == "docs" else {"id-token", "attestations"}
        assert asked <= allowed, name
        assert ("uses" in job) or 0 < job["timeout-minutes"] <= 90, name
        for step in job.get("steps", []):
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v[\d.]+", step["uses"]), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_there_is(path: Path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.M))
    for job in jobs_of(path).values():
        for command in (step["run"] for step in job.get("steps", []) if "run" in step):
            if command.startswith("make "):
                words = [word for word in command.split()[1:] if "=" not in word]
                assert words
                assert set(words) <= targets
            for script in re.findall(r"\.ci/\S+", command):
                assert (ROOT / script).is_file()


def test_every_version_of_python_is_tested_and_released():
    said = {f"3.{minor}" for minor in (11, 12, 13)}
    by_name = {path.stem: jobs_of(path) for path in WORKFLOWS}
    assert set(by_name["test"]["test"]["strategy"]["matrix"]["python"]) == said
    assert set(by_name["release"]["wheel"]["strategy"]["matrix"]["python"]) == said
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    classifiers = setup["metadata"]["classifiers"]
    assert set(re.findall(r":: (3\.\d+)$", classifiers, flags=re.M)) == said


def test_what_is_published_was_tested():
    jobs = jobs_of(ROOT / ".github" / "workflows" / "release.yml")
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish", "docs"}
    assert jobs["docs"]["needs"] == "publish"
    builds = [name for name, job in jobs.items() if "make build" in str(job)]
    assert builds == ["build"]


def test_this_version_may_be_released():
    assert problems(f"v{lsplus_tf.__version__}") == []


@pytest.mark.parametrize("tag", ["0.1.0", "v0.1", "v0.1.0rc1", "v0.1.0 ", "main", ""])
def test_other_tags_are_no_releases(tag: str):
    (problem,) = problems(tag)
    assert problem.startswith("expected a tag such as v0.1.0")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in READ:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", READ)
def test_every_place_of_the_version_is_checked(copied: Path, name: str):
    version = lsplus_tf.__version__
    path = copied / name
    path.write_text(path.read_text(encoding="utf-8").replace(version, "9.9.9"), encoding="utf-8")
    (problem,) = problems(f"v{version}", copied)
    assert problem.startswith(f"{name}: ")


def test_the_citation_is_of_the_day_of_the_release():
    citation = read(ROOT / "CITATION.cff")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{citation['version']}] - {citation['date-released']}" in changelog
    assert all("doi" in reference for reference in citation["references"])


def test_a_section_without_entries_is_none(copied: Path):
    path = copied / "CHANGELOG.md"
    path.write_text("## [0.1.0] - 2026-11-30\n\n## [0.0.9] - 2026-01-01\n\n### Added\n")
    (problem,) = problems("v0.1.0", copied)
    assert problem.startswith("CHANGELOG.md: ")


# --- the documentation of every release -----------------------------------------------------------


def site_saying(text: str, folder: Path) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(text)
    return folder


def test_the_documentation_of_a_release_stands_beside_that_of_others(tmp_path: Path):
    pages = tmp_path / "pages"
    for tag in ("v0.9.0", "v0.10.0", "v0.1.0"):
        place(site_saying(tag, tmp_path / tag), pages, tag)
    (pages / "0.9.0" / "stale.html").touch()
    (pages / "CNAME").write_text("of the owner's")
    place(site_saying("mended", tmp_path / "mended"), pages, "v0.9.0")
    said = {path.parent.name: path.read_text() for path in pages.glob("*/index.html")}
    assert said == {"0.10.0": "v0.10.0", "0.9.0": "mended", "0.1.0": "v0.1.0"}
    assert not (pages / "0.9.0" / "stale.html").exists()
    assert (pages / "CNAME").read_text() == "of the owner's"
    listed = re.findall(r'href="([\d.]+)/"', (pages / "releases.html").read_text())
    assert listed == ["0.10.0", "0.9.0", "0.1.0"]
    assert "url=0.10.0/" in (pages / "index.html").read_text()
    assert "url=" not in (pages / "releases.html").read_text()


@pytest.mark.parametrize("tag", ["main", "v0.1", "../v0.1.0", ""])
def test_what_is_no_release_has_no_documentation(tag: str, tmp_path: Path):
    site = site_saying("", tmp_path / "site")
    with pytest.raises(SystemExit, match="expected a tag such as"):
        place(site, tmp_path / "pages", tag)
    with pytest.raises(SystemExit, match="make docs"):
        place(tmp_path, tmp_path / "pages", "v0.1.0")
    assert not (tmp_path / "pages").exists()
