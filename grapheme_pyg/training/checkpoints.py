"""Checkpoints of training on disk: written whole, the previous one kept, read without running what they hold."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.errors import CheckpointError

FOLDER, LAST, PREVIOUS = "checkpoints", "last.ckpt", "previous.ckpt"
# Those of a run's description that do not change what comes out of it.
FREE_SETTINGS = ("device", "num_workers", "loader", "checkpoint_every", "nonfinite", "patience")


class DurableCheckpoints(CheckpointIO):
    """Reads and writes checkpoints for Lightning, whose own way trusts the cache of the disk.

    Args:
        found: The path of a checkpoint that has been read, and what it holds: it need not be on this machine's disk.
    """

    def __init__(self, found: tuple[Path, dict[str, Any]] | None = None) -> None:
        self._found = found

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint; the one of this name becomes the previous one.

        Raises:
            CheckpointError: It cannot be written; those that are there stay as they are.
        """
        path = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            replace_file(path, content.getvalue(), keep_as=path.with_name(PREVIOUS))
        except OSError as error:
            kept = f"; what was saved before is kept: {path}" if path.exists() else ""
            raise CheckpointError(
                f"{path}: expected to write {content.tell():,} bytes, got {error.strerror or error}{kept}"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: Any = None) -> dict[str, Any]:
        """Reads a checkpoint; see :func:`read_checkpoint`."""
        if self._found is not None and Path(path) == self._found[0]:
            return self._found[1]
        return read_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, map_location: Any | None = "cpu") -> dict[str, Any]:
    """Reads a checkpoint, whose checksums must be right, and runs nothing that it may hold.

    Raises:
        FileNotFoundError: There is none.
        CheckpointError: It is damaged, or no checkpoint.
    """
    content = path.read_bytes()
    try:
        # PyTorch does not look at the checksums that it writes.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: expected {damaged} with its checksum, got other bytes")
        checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    # PyTorch's restricted unpickler interprets opcodes of the file, which can make it raise almost anything.
    except Exception as error:
        raise CheckpointError(f"{path}: expected a checkpoint, got {_line(error)}") from error
    missing = {"epoch", "global_step", "hyper_parameters", "loops"} - (
        set(checkpoint) if isinstance(checkpoint, dict) else set()
    )
    if missing:
        raise CheckpointError(f"{path}: expected a checkpoint of this library, got one without {sorted(missing)}")
    return dict(checkpoint)


def newest_checkpoint(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a run that can be read, and what it holds; None if there is none at all.

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
            warnings.warn(f"{errors[0]}; going on from {path}, step {checkpoint['global_step']}", stacklevel=3)
        return path, checkpoint
    if errors:
        raise errors[0]
    return None


def check_same_run(path: Path, checkpoint: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuses the checkpoint of another run.

    Args:
        path: Of the checkpoint.
        checkpoint: What it holds.
        expected: The description of the run that is to go on: of its settings, model, vision and data.

    Raises:
        CheckpointError: Naming the first setting that differs.
    """
    stored = checkpoint["hyper_parameters"]
    for part, values in expected.items():
        found = stored.get(part)
        found = dict(found) if isinstance(found, dict) else {}
        for name in sorted(values.keys() | found.keys()):
            if part == "settings" and name in FREE_SETTINGS:
                continue
            want, got = values.get(name), found.get(name)
            if part == "data":
                if name in found:  # older runs do not say as much
                    _check_data(path, name, want, got)
            elif _plain(want) != _plain(got):
                raise CheckpointError(f"{path}: expected a run with {part}.{name} = {want!r}, got {got!r}")


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


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
