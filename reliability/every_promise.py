"""Tries every promise and writes the table of what was found; goes on where it was stopped."""

import json
from importlib import import_module
from pathlib import Path

from harness import RESULTS, Check, Outcome, describe, main

# Each has promises of one kind.
MODULES = (
    "stop_and_go",
    "no_room",
    "several",
    "model_files",
    "images",
    "data_sets",
    "graphs",
    "invariance",
    "threads",
    "steps",
    "training_sets",
)
TABLE = Path(__file__).parents[1] / "docs" / "reliability_results.md"


def all_checks() -> list[Check]:
    """The promises of all modules."""
    return [check for name in MODULES for check in import_module(name).CHECKS]


def table(folder: Path, checks: list[Check]) -> str:
    """What was found so far, as Markdown; a line for each promise."""
    lines = ["| promise | held | measured |", "|---|---|---|"]
    for check in checks:
        path = folder / f"{check.name}.json"
        if not path.exists():
            lines.append(f"| {check.promise} | not tried yet of {check.count:,} | |")
            continue
        found = json.loads(path.read_text())
        outcome = Outcome(**{name: found[name] for name in Outcome.__dataclass_fields__})
        held = f"{outcome.done - outcome.broken:,} of {outcome.done:,}"
        if outcome.done < check.count:
            held += f", {check.count:,} wanted"
        lines.append(f"| {check.promise} | {held} | {'; '.join(describe(outcome))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    every = all_checks()
    code = main(every)
    TABLE.write_text(table(RESULTS, every))
    raise SystemExit(code)
