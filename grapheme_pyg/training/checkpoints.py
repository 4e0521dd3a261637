"""Checkpoints of training on disk: written whole, with the previous one kept; they may come from strangers.

A checkpoint is a safetensors file, whose metadata hold the plain values as JSON, followed by its SHA-256 sum.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.datasets.local_files import check_regular
from grapheme_pyg.errors import CheckpointError, TrainingWarning
from grapheme_pyg.names import printable
from grapheme_pyg.training.state import TENSORS

FOLDER, LAST, PREVIOUS = "checkpoints", "last.ckpt", "previous.ckpt"
FORMAT, FORMAT_VERSION = "grapheme_pyg.training", 3
PLAIN = "state"
SUM_BYTES, LENGTH_BYTES = hashlib.sha256().digest_size, 8
# Bytes that a header may have for the shape and place of each tensor, the metrics of each epoch, and all other numbers.
TENSOR_BYTES, EPOCH_BYTES, NUMBER_BYTES = 256, 1024, 2**16
SHOWN = 500

State = dict[str, Any]


def write_checkpoint(run_dir: Path, state: State) -> None:
    """Writes a run's last checkpoint; the one that was there becomes the previous one.

    Args:
        run_dir: The run's folder.
        state: Plain values, and under each name in ``TENSORS`` a dictionary of tensors.

    Raises:
        CheckpointError: The checkpoint cannot be written; those that are there stay as they are.
    """
    path = run_dir / FOLDER / LAST
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous() for part in TENSORS for name, tensor in state[part].items()
    }
    content = save(tensors, {PLAIN: _plain_json(state)})
    try:
        replace_file(path, content + hashlib.sha256(content).digest(), keep_as=path.with_name(PREVIOUS))
    except OSError as error:
        kept = f"; the one that was saved before is kept: {path}" if path.exists() else ""
        raise CheckpointError(
            f"{path}: expected to write {len(content):,} bytes, got {error.strerror or error}{kept}"
        ) from error


def _plain_json(state: State) -> str:
    known = {"format": FORMAT, "format_version": FORMAT_VERSION}
    return json.dumps(known | {name: value for name, value in state.items() if name not in TENSORS})


def limits_of(state: State, epochs: int) -> tuple[int, int]:
    """Returns how many bytes a checkpoint and its header may have, from the state before the first epoch.

    The limit on the header bounds memory, since Python's objects take up to 24 times the JSON they are made of.
    """
    tensors = [(name, tensor) for part in TENSORS for name, tensor in state[part].items()]
    names = sum(TENSOR_BYTES + len(name) for name, _ in tensors)
    header = 2 * len(json.dumps(_plain_json(state))) + names + EPOCH_BYTES * epochs + NUMBER_BYTES
    return sum(tensor.nbytes for _, tensor in tensors) + header + LENGTH_BYTES + SUM_BYTES, header


def read_checkpoint(path: Path, limits: tuple[int, int] | None = None) -> State:
    """Reads a checkpoint and verifies its checksum; whether its contents fit the training is for others to check.

    Args:
        path: The file.
        limits: The most bytes that the file and its header may have; None for no limit, for trusted files.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, too large, of another version, or no checkpoint.
    """
    check_regular(path, CheckpointError)
    try:
        size = path.stat().st_size
        most, most_header = limits or (size, size)
        if size > most:
            raise ValueError(f"expected a checkpoint of at most {most:,} bytes, got {size:,}")
        content = path.read_bytes()
        content, found = content[:-SUM_BYTES], content[-SUM_BYTES:]
        length = int.from_bytes(content[:LENGTH_BYTES], "little")
        if not LENGTH_BYTES + length <= len(content):
            raise ValueError("expected a checkpoint, got a file that is none, or is cut short")
        if hashlib.sha256(content).digest() != found:
            raise ValueError("expected a checkpoint with its checksum, got other bytes")
        if length > most_header:
            raise ValueError(f"expected a checkpoint whose header has at most {most_header:,} bytes, got {length:,}")
        state = _plain_state(content[LENGTH_BYTES : LENGTH_BYTES + length])
        came = state.pop("format", None), state.pop("format_version", None)
        if came != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"expected a checkpoint of format {(FORMAT, FORMAT_VERSION)}, got {came}")
        return state | _by_part(load(content))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {_shown(error)}") from error


def _plain_state(header: bytes) -> State:
    """Returns the plain values in the header of a safetensors file; an empty dictionary if they are missing."""
    metadata = _object(json.loads(header)).get("__metadata__")
    text = _object(metadata).get(PLAIN)
    return _object(json.loads(text)) if isinstance(text, str) else {}


def _object(value: object) -> State:
    return value if isinstance(value, dict) else {}


def _by_part(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in TENSORS}
    for full_name, tensor in sorted(tensors.items()):  # safetensors returns them in any order
        part, _, name = full_name.partition(".")
        if part not in parts:
            raise ValueError(f"{full_name}: expected a tensor of {', '.join(TENSORS)}")
        parts[part][name] = tensor
    return parts


def _shown(error: Exception) -> str:
    return printable(str(error)[:SHOWN])


def newest_checkpoint(
    run_dir: Path, check: Callable[[State], None] = lambda _: None, limits: tuple[int, int] | None = None
) -> tuple[Path, State] | None:
    """Returns the path and state of a run's newest valid checkpoint, or None if the run has no checkpoint.

    If the last checkpoint is not valid, the previous one is read, with a warning.

    Args:
        run_dir: The run's folder.
        check: Raises ValueError if training cannot go on from a state.
        limits: Limits on sizes, as in :func:`read_checkpoint`.

    Raises:
        CheckpointError: There are checkpoints, but none is valid.
    """
    errors: list[CheckpointError] = []
    for name in (LAST, PREVIOUS):
        path = run_dir / FOLDER / name
        try:
            state = read_checkpoint(path, limits)
            check(state)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            errors.append(error)
        except ValueError as error:
            errors.append(CheckpointError(f"{path}: {_shown(error)}"))
        else:
            if errors:
                message = f"{errors[0]}; going on from {path}, step {state['step']}"
                warnings.warn(printable(message), TrainingWarning, stacklevel=3)
            return path, state
    if errors:
        raise errors[0]
    return None
