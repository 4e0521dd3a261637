"""Checkpoints of training on disk: written whole, the previous one kept, read without running what they hold."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.errors import CheckpointError
from grapheme_pyg.names import printable

FOLDER, LAST, PREVIOUS = "checkpoints", "last.ckpt", "previous.ckpt"
FORMAT, FORMAT_VERSION = "grapheme_pyg.training", 2
# Settings that do not change what comes out of a run. More epochs than planned are checked apart.
FREE_SETTINGS = ("device", "num_workers", "loader", "checkpoint_every", "nonfinite", "epochs")


def write_checkpoint(run_dir: Path, state: dict[str, Any]) -> None:
    """Writes the last checkpoint of a run; the one that was the last becomes the previous one.

    Raises:
        CheckpointError: It cannot be written; those that are there stay as they are.
    """
    path = run_dir / FOLDER / LAST
    content = io.BytesIO()
    torch.save({"format": FORMAT, "format_version": FORMAT_VERSION} | state, content)
    try:
        replace_file(path, content.getvalue(), keep_as=path.with_name(PREVIOUS))
    except OSError as error:
        kept = f"; the one that was saved before is kept: {path}" if path.exists() else ""
        raise CheckpointError(
            f"{path}: expected to write {content.tell():,} bytes, got {error.strerror or error}{kept}"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, whose checksums must be right, and runs nothing that it may hold.

    Raises:
        FileNotFoundError: There is none.
        CheckpointError: It is damaged, of another version, or no checkpoint.
    """
    content = path.read_bytes()
    try:
        # PyTorch does not look at the checksums that it writes.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: expected {damaged} with its checksum, got other bytes")
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    # PyTorch's restricted unpickler interprets opcodes of the file, which can make it raise almost anything.
    except Exception as error:
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: expected a checkpoint, got {line}") from error
    known = checkpoint if isinstance(checkpoint, dict) else {}
    came = known.get("format"), known.get("format_version")
    if came != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(f"{path}: expected a checkpoint of {(FORMAT, FORMAT_VERSION)}, got one of {came}")
    return known


def newest_checkpoint(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Reads the newest checkpoint of a run that can be read; returns its path and content, None if there is none.

    If the last one cannot be read a warning says so, and it is the previous one.

    Raises:
        CheckpointError: None of those that are there can be read.
    """
    errors: list[CheckpointError] = []
    for name in (LAST, PREVIOUS):
        path = run_dir / FOLDER / name
        try:
            checkpoint = read_checkpoint(path)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            errors.append(error)
            continue
        if errors:
            message = f"{errors[0]}; going on from {path}, step {checkpoint['step']}"
            warnings.warn(printable(message), stacklevel=3)
        return path, checkpoint
    if errors:
        raise errors[0]
    return None


def check_same_run(path: Path, stored: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuses the checkpoint of another run, but for one that is to have more epochs than it was planned with.

    Args:
        path: Where the checkpoint is.
        stored: The description of the run that it is of.
        expected: The description of the run that is to go on: its settings, model, vision and data.

    Raises:
        CheckpointError: Naming the first setting that differs.
    """
    for part, values in expected.items():
        found = dict(stored.get(part, {}))
        for name in sorted(values.keys() | found.keys()):
            want, got = values.get(name), found.get(name)
            if part == "settings" and name in FREE_SETTINGS:
                continue
            if part == "data":
                _check_data(path, name, want, got)
            elif _plain(want) != _plain(got):
                raise CheckpointError(f"{path}: expected a run with {part}.{name} = {want!r}, got {got!r}")
    epochs, planned = expected["settings"]["epochs"], stored["settings"]["epochs"]
    if epochs < planned:
        raise CheckpointError(f"{path}: expected a run with settings.epochs = {epochs} or fewer, got {planned}")


def _check_data(path: Path, name: str, want: Any, got: Any) -> None:
    """Refuses the checkpoint of a run on other images, and says what to do."""
    if want == got:
        return
    change = "other images"
    if name == "images":
        change = f"{abs(want - got):,} {'fewer' if want < got else 'more'} images"
    raise CheckpointError(
        f"{path}: expected a run with data.{name} = {want!r}, got {got!r}; there are {change} now: bring them back to "
        "what they were when it was started, or start anew in another run_dir"
    )


def _plain(value: Any) -> Any:
    """Tuples and lists alike."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
