"""The files beside the sources agree with one another: versions, addresses, what workflows run."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import grapheme_pyg

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
YAML = sorted([*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"])

if not (ROOT / ".github").is_dir():
    pytest.skip("an archive of the sources has no .github", allow_module_level=True)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def locked(package):
    return re.search(rf"^{package}==([^\s+]+)", read("locked/dev.txt") + read("locked/cuda.txt"), re.MULTILINE)[1]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_read(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_one_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    newest, date = re.search(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.MULTILINE).groups()
    assert grapheme_pyg.__version__ == citation["version"] == newest
    assert str(citation["date-released"]) == date


def test_one_address():
    address = PROJECT["urls"]["Repository"]
    assert yaml.safe_load(read("CITATION.cff"))["repository-code"] == address
    assert all(url.startswith(address) for url in PROJECT["urls"].values())
    (contact,) = yaml.safe_load(read(".github/ISSUE_TEMPLATE/config.yml"))["contact_links"]
    assert contact["url"].startswith(address + "/")


def test_workflows_run_the_versions_of_python_that_the_package_names():
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert named[0] == PROJECT["requires-python"].removeprefix(">=")
    tests = yaml.safe_load(read(".github/workflows/checks.yml"))["jobs"]["tests"]
    assert tests["strategy"]["matrix"]["python"] == named
    built = PYPROJECT["tool"]["cibuildwheel"]["build"].split()
    assert built == [f"cp{version.replace('.', '')}-*" for version in named]
    assert f"for python in {' '.join(named)}; do" in read(".github/workflows/wheels.yml")


def test_actions_of_others_are_pinned():
    used = re.findall(r"uses: (\S+)(.*)", "\n".join(path.read_text(encoding="utf-8") for path in YAML))
    others = [(action, comment) for action, comment in used if not action.startswith("./")]
    assert others
    for action, comment in others:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), f"{action}: expected the whole hash of a commit"
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}: expected its version in a comment"


def test_tools_have_the_locked_versions():
    repositories = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    (ruff,) = [one for one in repositories if one["repo"].endswith("/ruff-pre-commit")]
    assert ruff["rev"] == f"v{locked('ruff')}"
    before_build = PYPROJECT["tool"]["cibuildwheel"]["before-build"]
    assert before_build == f"uv pip install setuptools=={locked('setuptools')} torch=={locked('torch')}"


@pytest.mark.slow
def test_the_archive_of_the_sources_has_what_they_need(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("no clone")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    tracked = {name for name in names if name and not name.startswith(".")}
    for name in tracked:
        (tmp_path / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "sources" / name)
    build = "from setuptools.build_meta import build_sdist; import sys; print(build_sdist(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", build, str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / "sources", capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert archive.stat().st_size < 12e6
    with tarfile.open(archive) as tar:
        found = {member.name.partition("/")[2] for member in tar if member.isfile()}
    assert found >= tracked
    assert {name.partition("/")[0] for name in found - tracked} <= {"PKG-INFO", "setup.cfg", "grapheme_pyg.egg-info"}
