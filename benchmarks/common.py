"""Helpers that several benchmarks use: MNIST's images, a mean with its deviation, results that are kept."""

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
# Whose code results depend on.
CODE, SUFFIXES = ("grapheme_pyg", "examples", "benchmarks"), (".py", ".cpp", ".h", ".inc")


def split_mnist() -> tuple[Split, Split]:
    """MNIST's training images without the last 5,000, and these."""
    images, labels = load_idx_data("mnist").train
    return Split(images[:-VALIDATION], labels[:-VALIDATION]), Split(images[-VALIDATION:], labels[-VALIDATION:])


def spread(values: Sequence[float]) -> str:
    """Mean and, of several values, standard deviation, in per cent."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f} %" if len(values) > 1 else f"{mean} %"


def this_code() -> dict[str, str]:
    """The commit, and a checksum of the code as it lies there, whether committed or not."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES):
        digest.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return {"commit": git.stdout.strip() or "unknown", "code": digest.hexdigest()}


def check_code(path: Path, came: Mapping[str, Any]) -> None:
    """Refuses a result of other code, which says nothing about this one, and is not to be averaged with its results.

    Raises:
        ValueError: It is one.
    """
    expected = this_code()
    if came.get("code") != expected["code"]:
        found = f"that of commit {came.get('commit')}, {str(came.get('code'))[:12]}"
        wanted = f"that of commit {expected['commit']}, {expected['code'][:12]}"
        raise ValueError(f"{path}: expected a result of the code that is here, {wanted}, got {found}; delete it")


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result in a file, which is measured now unless it is there.

    Raises:
        ValueError: What is there is of other code.
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
