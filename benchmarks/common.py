"""Helpers of several benchmarks: MNIST's images, means with deviations, stored results, and parts of pages."""

import hashlib
import json
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grapheme_pyg.datasets import Split, load_idx_data

VALIDATION = 5000
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
# Folders and suffixes of the code on which results depend.
CODE, SUFFIXES = ("grapheme_pyg", "examples", "benchmarks"), (".py", ".cpp", ".h", ".inc")


def split_mnist() -> tuple[Split, Split]:
    """Returns MNIST's training images without the last 5,000, and those 5,000."""
    images, labels = load_idx_data("mnist").train
    return Split(images[:-VALIDATION], labels[:-VALIDATION]), Split(images[-VALIDATION:], labels[-VALIDATION:])


def spread(values: Sequence[float]) -> str:
    """Formats the mean and, of several values, the standard deviation in per cent."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f} %" if len(values) > 1 else f"{mean} %"


def this_code() -> dict[str, str]:
    """Returns the commit, and a checksum of the code in the working tree."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES):
        digest.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return {"commit": git.stdout.strip() or "unknown", "code": digest.hexdigest()}


def check_code(path: Path, came: Mapping[str, Any]) -> None:
    """Refuses a result of other code, which must not be mixed with results of this code.

    Raises:
        ValueError: The result is of other code.
    """
    expected = this_code()
    if came.get("code") != expected["code"]:
        found = f"that of commit {came.get('commit')}, {str(came.get('code'))[:12]}"
        wanted = f"that of commit {expected['commit']}, {expected['code'][:12]}"
        raise ValueError(f"{path}: expected a result of the present code, {wanted}, got {found}; delete it")


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the result in a file, which is measured first if there is no such file.

    Raises:
        ValueError: The file holds a result of other code.
    """
    if not path.exists():
        result = this_code() | {"result": measure()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
    found = json.loads(path.read_text())
    check_code(path, found)
    result = found["result"]
    assert isinstance(result, dict)
    return result


def replace_between(text: str, name: str, new: str) -> str:
    """Replaces what is between the markers ``<!-- name -->`` and ``<!-- /name -->`` of a page.

    Raises:
        ValueError: The page does not have these markers, once each and in this order.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"page: expected {start} and then {end}, once each, got other markers")
    before, rest = text.split(start)
    return f"{before}{start}\n{new}\n{end}{rest.split(end)[1]}"
