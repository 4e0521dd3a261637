"""Sets of data from strangers: whole ones load, broken ones give one kind of error, and none harms."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import data_sets_archives
import data_sets_folders
import data_sets_idx
from data_sets_trial import BrokenPromiseError, attempt
from harness import Check, main, try_cases

KINDS = data_sets_idx.KINDS + data_sets_archives.KINDS + data_sets_folders.KINDS
# Of each kind, and in each process that runs without assertions.
EACH, AT_ONCE = 20, 100


def case(number: int) -> dict[str, float]:
    """Loads the set of data of a number, whose kind follows from it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "given"
        # For strangers, too.
        folder.parent.chmod(0o755)
        folder.mkdir()
        try:
            return attempt(KINDS[number % len(KINDS)](Random(f"data sets {number}"), folder))
        except BrokenPromiseError as error:
            raise BrokenPromiseError(f"{KINDS[number % len(KINDS)].__name__}: {error}") from error


COUNT = EACH * len(KINDS)
DATA_SETS = Check("data_sets", "of any set of data, what was written or one DatasetError", COUNT, case)


def without_assertions(number: int) -> dict[str, float]:
    """Cases of the check above in another process, under ``python -O``."""
    first, last = number * AT_ONCE, min((number + 1) * AT_ONCE, COUNT)
    command = [sys.executable, "-O", __file__, "--range", str(first), str(last)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if ended.returncode != 0:
        raise BrokenPromiseError(f"expected a process that ends well, got {ended.returncode}: {ended.stderr}")
    found = json.loads(ended.stdout)
    if found["broken"] or found["optimize"] != 1 or found["done"] != last - first:
        raise BrokenPromiseError(f"expected {last - first} cases without assertions, got {found}")
    measured: dict[str, float] = found["measured"]
    return measured | {"number of cases": found["done"]}


def try_range(first: int, last: int) -> str:
    """The cases from one number to before another, as JSON."""
    shifted = Check(DATA_SETS.name, DATA_SETS.promise, last - first, lambda number: case(first + number))
    return json.dumps(vars(try_cases(shifted)) | {"optimize": sys.flags.optimize})


WITHOUT_ASSERTIONS = Check(
    "data_sets_optimized",
    f"the same under python -O, {AT_ONCE} sets in each case",
    -(-COUNT // AT_ONCE),
    without_assertions,
)
CHECKS = (DATA_SETS, WITHOUT_ASSERTIONS)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--range"]:
        print(try_range(int(sys.argv[2]), int(sys.argv[3])))
        raise SystemExit(0)
    raise SystemExit(main(CHECKS))
