"""The lists of archives with their sums hold everything that is asked for, and nothing that is known to be bad."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LISTS = ("cpu", "cuda", "dev")
DENIED = [
    Requirement(line)
    for line in (ROOT / "locked/denied.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def denied(name, number):
    """The entries of the list of bad versions that a version falls under."""
    name = canonicalize_name(name)
    return [str(bad) for bad in DENIED if bad.name == name and bad.specifier.contains(number, prereleases=True)]


def locked(name):
    """Versions of a list, by their packages; every line is an exact version with sums."""
    pins = {}
    text = re.sub(r"^ *#.*\n", "", (ROOT / f"locked/{name}.txt").read_text(), flags=re.MULTILINE)
    for block in re.split(r"\n(?=\S)", text.rstrip("\n")):
        found = re.fullmatch(r"([a-z0-9-]+)==([^\s;*]+)( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", block)
        assert found, f"locked/{name}.txt: expected name==version and sums, got {block.splitlines()[0]!r}"
        # A local version, such as 2.13.0+cpu, is a build of the version.
        pins[found[1]] = Version(Version(found[2]).public)
    return pins


@pytest.mark.parametrize(
    ("name", "number", "bad"),
    [
        ("lightning", "2.6.2", True),
        ("lightning", "2.6.6", False),
        ("PyTorch_Lightning", "2.6.5.post1", True),
        ("torch", "2.9.1+cpu", True),
        ("torch", "2.10.0+cpu", False),
        ("pillow", "12.1.1", True),
        ("numpy", "1.0", False),
    ],
)
def test_denied_versions(name, number, bad):
    assert bool(denied(name, number)) is bad


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_exact_and_hold_nothing_bad(name):
    for package, number in locked(name).items():
        assert not denied(package, number)


def test_lists_agree_and_hold_what_is_asked_for():
    cpu, cuda, dev = map(locked, LISTS)
    assert {package: cuda[package] for package in cpu} == cpu
    assert not dev.keys() & cuda.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in project["dependencies"]]
    asked += [Requirement(text) for name, texts in extras.items() if name != "scatter" for text in texts]
    for one in asked:
        if one.name != project["name"]:
            number = (cuda | dev).get(canonicalize_name(one.name))
            assert number is not None, f"pyproject.toml: expected {one} in locked/ (make lock)"
            assert one.specifier.contains(number, prereleases=True)
        for part in one.specifier:
            assert not denied(one.name, part.version), f"pyproject.toml: expected no bad version from {one} on"


def test_nothing_bad_is_installed():
    for name in {bad.name for bad in DENIED}:
        try:
            number = version(name)
        except PackageNotFoundError:
            continue
        assert not denied(name, number)
