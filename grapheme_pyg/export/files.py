"""Exported models in files: ONNX, and programs of ``torch.export``."""

import logging
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from grapheme_pyg.datasets.local_files import check_regular
from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.export.input_format import InputFormat
from grapheme_pyg.export.network import PlannedModel
from grapheme_pyg.extras import missing
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import printable

# Longest side of images in pixels. Generations that a graph does not have cost a few microseconds.
MAX_SIZE = 256
METADATA = "grapheme_pyg"
EXTRA_FILE = "format.json"
# Most bytes of an input format, besides a sixteenth of the file, as for a model's settings.
FORMAT_BYTES = 2**18
# In protobuf: the field of a model with its metadata, bytes of values of fixed size by type, most fields of a message.
METADATA_PROPS, SIZES, MAX_FIELDS = 14, {1: 8, 5: 4}, 2**12


def export_onnx(model: ImageClassificationModel, path: str | Path, *, max_size: int = MAX_SIZE) -> InputFormat:
    """Writes a model as ONNX, from the tables of a graph to logits; docs/export.md describes its use.

    The file holds the weights and, in its metadata, the input format.

    Args:
        model: The model, which is exported in evaluation mode.
        path: The file to write.
        max_size: The most pixels that a side of an image may have.

    Returns:
        The inputs of the exported model.

    Raises:
        ValueError: ``max_size`` is not a positive integer.
        ModelFileError: The input format is larger than :func:`read_format` accepts, with very many classes and few
            weights.
        ImportError: onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing(error.name, "to write ONNX", "onnx") from error
    program, input_format = _trace(model, max_size)
    with warnings.catch_warnings(), _without_torchvision():
        # Warnings about PyTorch's own code, and about inputs that share lengths, as is meant.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(input_format.inputs),
            output_names=["logits", "similarities"],
            # The names of lengths, which are lost in a program.
            dynamic_shapes=({name: _named(shape) for name, shape in input_format.inputs.items()},),
            verbose=False,
        )
    assert onnx_program is not None
    onnx_program.model.metadata_props[METADATA] = input_format.to_json()
    onnx_program.save(path, external_data=False)
    return read_format(path)


def export_program(model: ImageClassificationModel, path: str | Path, *, max_size: int = MAX_SIZE) -> InputFormat:
    """Writes a model as a program for ``torch.export.load``, which takes a dictionary of the same inputs as tensors.

    Arguments, result and errors are those of :func:`export_onnx`. The input format is the extra file ``format.json``.
    """
    program, input_format = _trace(model, max_size)
    torch.export.save(program, path, extra_files={EXTRA_FILE: input_format.to_json()})
    return read_format(path)


def read_format(path: str | Path) -> InputFormat:
    """Returns the input format of an exported model, ONNX or a program; nothing else in the file is read.

    Raises:
        FileNotFoundError: There is no such file.
        ModelFileError: The file was not written by this library, or its input format is damaged; the message names it.
    """
    path = Path(path)
    check_regular(path, ModelFileError)
    try:
        with path.open("rb") as file:
            text = _format_in(file, most=FORMAT_BYTES + os.fstat(file.fileno()).st_size // 16)
        if text is None:
            raise ValueError("expected a model that grapheme_pyg has exported, got another file")
        return InputFormat.from_json(text.decode())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, BadZipFile) as error:
        raise ModelFileError(f"{path}: {printable(str(error))}") from error


def _format_in(file: BinaryIO, most: int) -> bytes | None:
    """Returns the text of an input format, of at most ``most`` bytes; None if there is none."""
    if is_zipfile(file):
        # The size of the list of names, for each of which ZipFile would take half a kilobyte of memory.
        size = zipfile._EndRecData(file)[zipfile._ECD_SIZE]  # type: ignore[attr-defined]
        _check_size("names", size, most)
        with ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(f"/{EXTRA_FILE}"):
                    if entry.compress_type != ZIP_STORED:
                        raise ValueError(f"{EXTRA_FILE}: expected an uncompressed file, got a compressed one")
                    _check_size(EXTRA_FILE, entry.file_size, most)
                    return archive.read(entry)
        return None
    file.seek(0)
    for number, size in _protobuf_fields(file):
        if number == METADATA_PROPS:
            _check_size(METADATA, size, most)
            message = BytesIO(file.read(size))
            entry_fields = {number: message.read(size) for number, size in _protobuf_fields(message)}
            if entry_fields.get(1) == METADATA.encode():
                return entry_fields.get(2)
    return None


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{name}: expected at most {most:,} bytes, got {size:,}")


def _protobuf_fields(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Iterates over number and size of the fields that have a size, with the file at the beginning of each.

    An ONNX model has about ten fields. After many more, or an unknown type, the file is taken for another one.
    """
    for _ in range(MAX_FIELDS):
        if (key := _varint(file)) is None or (
            value := _varint(file) if key & 7 in (0, 2) else SIZES.get(key & 7)
        ) is None:
            return
        if key & 7 == 0:
            continue
        end = file.tell() + value
        if key & 7 == 2:
            yield key >> 3, value
        file.seek(end)


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 63, 7):
        if not (byte := file.read(1)):
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Silences the warnings that PyTorch logs for each operator of torchvision, which these models do not use."""

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _named(shape: tuple[int | str, ...]) -> dict[int, str]:
    return {i: size for i, size in enumerate(shape) if isinstance(size, str)}


def _trace(model: ImageClassificationModel, max_size: int) -> tuple[ExportedProgram, InputFormat]:
    input_format = InputFormat.of(model, max_size)
    network = PlannedModel(deepcopy(model).to("cpu", torch.float32), input_format)
    names = [name for shape in input_format.inputs.values() for name in shape if isinstance(name, str)]
    # Equal lengths would be taken for the same length.
    length = dict(zip(dict.fromkeys(names), count(2)))
    # Any length may be zero, except those of the lists of pooled nodes.
    dims = {name: Dim(name, min=int(name.startswith("most_"))) for name in length}
    example: dict[str, Tensor] = {}
    dynamic: dict[str, dict[int, Dim]] = {}
    for name, shape in input_format.inputs.items():
        sizes = [length[size] if isinstance(size, str) else size for size in shape]
        example[name] = torch.zeros(sizes, dtype=input_format.dtype(name))
        dynamic[name] = {i: dims[size] for i, size in _named(shape).items()}
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(dynamic,)), input_format
