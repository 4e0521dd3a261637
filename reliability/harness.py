"""Promises that are tried many times, a numbered case at a time, so that a run that was stopped goes on."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# Seconds between two writings of what was found so far.
SAVED_EVERY = 10.0
# Measurements of such names are added up.
SUMMED = "number of"
# Broken promises that are kept with their messages; all are counted.
KEPT = 20


@dataclass(frozen=True)
class Check:
    """One promise, and how it is tried.

    Attributes:
        name: Of the file that its results are kept in.
        promise: What holds in every case; a line of the table.
        count: How many cases are asked for.
        case: Tries the case of a number, which decides all that is random in it. Returns what it measured, by name:
            of names that begin with "number of" the sum is kept, of others the largest value. Raises anything if the
            promise is broken.
    """

    name: str
    promise: str
    count: int
    case: Callable[[int], dict[str, float]]


@dataclass
class Outcome:
    """What was found so far.

    Attributes:
        done: Cases that were tried.
        broken: Of these, those in which the promise did not hold.
        messages: Of the first of them, each with the number of its case.
        measured: The sum or the largest value of each measurement.
    """

    done: int
    broken: int
    messages: list[str]
    measured: dict[str, float]


def try_cases(check: Check, count: int | None = None, *, folder: Path | None = None) -> Outcome:
    """Tries the cases of a promise, after those that were tried already.

    Args:
        check: The promise.
        count: How many cases there are to be in all; as many as it asks for if None.
        folder: Where its results are kept; nowhere if None.
    """
    path = None if folder is None else folder / f"{check.name}.json"
    outcome = Outcome(0, 0, [], {})
    if path is not None and path.exists():
        outcome = Outcome(**{name: json.loads(path.read_text())[name] for name in Outcome.__dataclass_fields__})
    written = time.monotonic()
    for number in range(outcome.done, check.count if count is None else count):
        try:
            for name, value in check.case(number).items():
                before = outcome.measured.get(name)
                if before is not None:
                    value = before + value if name.startswith(SUMMED) else max(before, value)
                outcome.measured[name] = value
        except Exception as error:  # whatever it is, it is what was promised not to be
            outcome.broken += 1
            if len(outcome.messages) < KEPT:
                outcome.messages.append(f"{number}: {type(error).__name__}: {error}")
        outcome.done += 1
        if path is not None and time.monotonic() - written > SAVED_EVERY:
            _write(path, check, outcome)
            written = time.monotonic()
    if path is not None:
        _write(path, check, outcome)
    return outcome


def _write(path: Path, check: Check, outcome: Outcome) -> None:
    kept: dict[str, Any] = {"promise": check.promise, "asked": check.count} | vars(outcome)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=2) + "\n")
    part.replace(path)


def describe(outcome: Outcome) -> list[str]:
    """What was measured, a text for each."""
    return [
        f"{name}: {value:,.4g}" if name.startswith(SUMMED) else f"{name}: at most {value:,.4g}"
        for name, value in sorted(outcome.measured.items())
    ]


def main(checks: Sequence[Check], arguments: Sequence[str] | None = None) -> int:
    """A command line for promises: tries them and prints what was found; the exit code is 1 if one was broken."""
    parser = argparse.ArgumentParser(description="Tries promises of reliability; goes on where it was stopped.")
    parser.add_argument("--only", nargs="+", choices=[check.name for check in checks], help="these promises alone")
    parser.add_argument("--count", type=int, help="so many cases of each, and nothing is kept")
    parser.add_argument("--fresh", action="store_true", help="forget what was tried before")
    options = parser.parse_args(arguments)
    broken = 0
    for check in checks:
        if options.only is not None and check.name not in options.only:
            continue
        folder = RESULTS if options.count is None else None
        if options.fresh and folder is not None:
            (folder / f"{check.name}.json").unlink(missing_ok=True)
        outcome = try_cases(check, options.count, folder=folder)
        kept = f"{outcome.done - outcome.broken:,} of {outcome.done:,}"
        print("; ".join([f"{check.name}: {check.promise}: {kept}", *describe(outcome)]), flush=True)
        print(*(f"  {message}" for message in outcome.messages), sep="\n", end="" if not outcome.messages else "\n")
        broken += outcome.broken
    return int(broken > 0)
