"""Exported models as files: ONNX, and programs of ``torch.export``."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from grapheme_pyg.export.input_format import InputFormat
from grapheme_pyg.export.network import PlannedModel
from grapheme_pyg.model import ImageClassificationModel

# Of images in pixels a side. Generations that a graph does not have cost a few microseconds.
MAX_SIZE = 256
METADATA = "grapheme_pyg"
EXTRA_FILE = "format.json"


def export_onnx(model: ImageClassificationModel, path: str | Path, *, max_size: int = MAX_SIZE) -> InputFormat:
    """Writes a model as ONNX, from the tables of a graph to logits; docs/export.md tells how to use it.

    The file holds the weights, and what it reads and answers in its metadata.

    Args:
        model: In any mode; it is exported as in evaluation.
        path: The file to write.
        max_size: Images have at most so many pixels a side.

    Returns:
        What the exported model reads.

    Raises:
        ValueError: The model has classes that were added from examples, or ``max_size`` is not a positive integer.
        ImportError: onnxscript is not there.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{error.name} is needed to write ONNX: pip install "grapheme-pyg[onnx]"') from error
    program, input_format = _trace(model, max_size)
    with warnings.catch_warnings(), _without_torchvision():
        # PyTorch's own, about its own trees; and that inputs share the lengths that we say they share.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(input_format.inputs),
            output_names=["logits", "similarities"],
            # Names of lengths, which a program does not keep.
            dynamic_shapes=({name: _named(shape) for name, shape in input_format.inputs.items()},),
            verbose=False,
        )
    assert onnx_program is not None
    onnx_program.model.metadata_props[METADATA] = input_format.to_json()
    onnx_program.save(path, external_data=False)
    return input_format


def export_program(model: ImageClassificationModel, path: str | Path, *, max_size: int = MAX_SIZE) -> InputFormat:
    """Writes a model as a program for ``torch.export.load``, which takes a dictionary of the same inputs as tensors.

    Arguments, result and errors are those of :func:`export_onnx`. What it reads is the extra file ``format.json``.
    """
    program, input_format = _trace(model, max_size)
    torch.export.save(program, path, extra_files={EXTRA_FILE: input_format.to_json()})
    return input_format


def read_format(path: str | Path) -> InputFormat:
    """What the exported model in a file reads, whether ONNX or a program.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none that this library has written.
        ImportError: It is ONNX, and onnx is not there.
    """
    path = Path(path)
    text = _format_in_program(path) if is_zipfile(path) else _format_in_onnx(path)
    if text is None:
        raise ValueError(f"{path}: expected a model that grapheme_pyg has exported, got another file")
    return InputFormat.from_json(text)


def _format_in_program(path: Path) -> str | None:
    with ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/{EXTRA_FILE}")]
        return archive.read(found[0]).decode() if found else None


def _format_in_onnx(path: Path) -> str | None:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ImportError(f'{error.name} is needed to read ONNX: pip install "grapheme-pyg[onnx]"') from error
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        return None
    return next((entry.value for entry in model.metadata_props if entry.key == METADATA), None)


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """PyTorch logs a warning for each operator of torchvision if that is not there. None of these models has one."""

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
    if added := model.classifier.added_classes:
        raise ValueError(f"classes: expected none added from examples, got {added}; call forget first")
    input_format = InputFormat.of(model, max_size)
    network = PlannedModel(deepcopy(model).to("cpu", torch.float32), input_format)
    names = [name for shape in input_format.inputs.values() for name in shape if isinstance(name, str)]
    # Equal lengths would be taken for one.
    lengths = count(2)
    length = {name: next(lengths) for name in dict.fromkeys(names)}
    # There may be none of anything but of places in lists of pooled nodes.
    dims = {name: Dim(name, min=int(name.startswith("most_"))) for name in length}
    example: dict[str, Tensor] = {}
    dynamic: dict[str, dict[int, Dim]] = {}
    for name, shape in input_format.inputs.items():
        sizes = [length[size] if isinstance(size, str) else size for size in shape]
        example[name] = torch.zeros(sizes, dtype=input_format.dtype(name))
        dynamic[name] = {i: dims[size] for i, size in _named(shape).items()}
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(dynamic,)), input_format
