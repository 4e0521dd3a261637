"""Checks what is installed with this package: exact versions, with hashes, and none that is known to be bad.

It lies beside `lock.py` and outside the package, which neither needs it nor may know of its own installation.

    python tools/check_pins.py
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LISTS = ("torch-cpu", "torch", "cuda", "train", "dev")
# Made where it is installed, against the PyTorch that is there, and asked for by hand: there is no archive to hash.
NOT_LOCKED = {"torch-scatter"}
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


class KnownBad(NamedTuple):
    """Versions that must never be installed, why, and who says so."""

    versions: str
    reason: str
    source: str


KNOWN_BAD = {
    "lightning": [
        KnownBad("==2.6.2", "published from a stolen account, takes credentials on import", "GHSA-w37p-236h-pfx3"),
        KnownBad("==2.6.3", "published from a stolen account, takes credentials on import", "GHSA-w37p-236h-pfx3"),
        KnownBad("<2.6.6", "a checkpoint's _instantiator is imported and called", "CVE-2026-58659"),
    ],
    "pytorch-lightning": [KnownBad("<2.6.6", "a checkpoint's _instantiator is imported and called", "CVE-2026-58659")],
    "torch": [KnownBad("<2.10", "torch.load(weights_only=True) corrupts memory", "CVE-2026-24747")],
    "pillow": [KnownBad("<12.2", "writes out of bounds on a crafted PSD file", "CVE-2026-42311")],
}


def read_pins(text: str, name: str = "constraints.txt") -> tuple[dict[str, Version], list[str]]:
    """Packages and their versions, and complaints about lines that are no exact pins."""
    pins: dict[str, Version] = {}
    wrong = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = PIN.fullmatch(line.strip())
        if found is None or "*" in found[2]:
            wrong.append(f"{name}: expected name==version, got {line!r}")
        elif canonicalize_name(found[1]) in pins:
            wrong.append(f"{name}: expected {found[1]} once, got it again")
        else:
            pins[canonicalize_name(found[1])] = Version(found[2])
    return pins, wrong


def check_known_bad(versions: dict[str, Version], name: str) -> list[str]:
    """Complaints about versions that are known to be bad."""
    return [
        f"{name}: expected no {package} {bad.versions} ({bad.reason}; {bad.source}), got {versions[package]}"
        for package, several in KNOWN_BAD.items()
        for bad in several
        if package in versions and SpecifierSet(bad.versions, prereleases=True).contains(versions[package])
    ]


def asked_for(pyproject: str) -> list[Requirement]:
    """What the package asks for itself, with all its extras."""
    project = tomllib.loads(pyproject)["project"]
    extras = [text for several in project["optional-dependencies"].values() for text in several]
    found = [Requirement(text) for text in (*project["dependencies"], *extras)]
    return [one for one in found if canonicalize_name(one.name) != canonicalize_name(project["name"])]


def check_asked(asked: Iterable[Requirement], pins: dict[str, Version]) -> list[str]:
    """Complaints about what the package asks for: not pinned in its range, or from a bad version on."""
    wrong = []
    for one in asked:
        package = canonicalize_name(one.name)
        if package not in pins or not one.specifier.contains(pins[package], prereleases=True):
            wrong.append(f"pyproject.toml: expected {one} to be pinned, got {pins.get(package)}")
        for part in one.specifier:
            wrong += check_known_bad({package: Version(part.version)}, "pyproject.toml")
    return wrong


def check_locked(lists: Iterable[str], pins: dict[str, Version]) -> list[str]:
    """Complaints about lists with hashes that are not those of the pins."""
    # A local version, 2.13.0+cpu, is a build of the version that is pinned.
    locked: dict[str, Version] = {}
    wrong = []
    for text in lists:
        for block in re.split(r"\n(?=\S)", text):
            if block.startswith("#") or not block.strip():
                continue
            found = PIN.match(block)
            if found is None or not HASH.search(block):
                wrong.append(f"locked: expected name==version and hashes, got {block.splitlines()[0]!r}")
                continue
            package, version = canonicalize_name(found[1]), Version(Version(found[2]).public)
            if locked.setdefault(package, version) != version:
                wrong.append(f"locked: expected one version of {package}, got {locked[package]} and {version}")
    return wrong + [
        f"locked: expected {package} {pins.get(package)}, got {locked.get(package)} (make lock)"
        for package in sorted({*locked, *pins} - NOT_LOCKED)
        if locked.get(package) != pins.get(package)
    ]


def brought(asked: Iterable[Requirement]) -> dict[str, Version]:
    """What is installed because it was asked for, directly or not."""
    found: dict[str, Version] = {}
    waiting = [(one, "") for one in asked]
    seen = {(str(one), extra) for one, extra in waiting}
    while waiting:
        one, extra = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        try:
            there = distribution(one.name)
        except PackageNotFoundError:
            # Of an extra that was not installed.
            continue
        found[canonicalize_name(one.name)] = Version(there.version)
        more = [(Requirement(text), extra) for text in there.requires or () for extra in ("", *one.extras)]
        waiting += [(new, extra) for new, extra in more if (str(new), extra) not in seen]
        seen |= {(str(new), extra) for new, extra in more}
    return found


def check_installed(installed: dict[str, Version], pins: dict[str, Version]) -> list[str]:
    """Complaints about what is installed: bad, or not at the pinned version."""
    return check_known_bad(installed, "installed") + [
        f"installed: expected {package} {pins.get(package)}, got {version}"
        for package, version in sorted(installed.items())
        if package not in pins or Version(version.public) != pins[package]
    ]


def main() -> int:
    pins, wrong = read_pins((ROOT / "constraints.txt").read_text())
    asked = asked_for((ROOT / "pyproject.toml").read_text())
    installed = brought(asked)
    wrong += check_known_bad(pins, "constraints.txt")
    wrong += check_asked(asked, pins)
    wrong += check_locked([(ROOT / "locked" / f"{name}.txt").read_text() for name in LISTS], pins)
    wrong += check_installed(installed, pins)
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    print(f"{len(pins)} packages pinned, {len(installed)} of them installed: {len(wrong) or 'nothing'} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
