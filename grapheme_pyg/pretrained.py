"""Models on disk: weights as safetensors, settings as JSON, a checksum of each. Files may come from strangers."""

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.home import Home
from grapheme_pyg.labels import canonical, check_name, to_names
from grapheme_pyg.model_folder import CONFIG, WEIGHTS, naming, open_model_files, write_model_files
from grapheme_pyg.model_settings import OF_EARLIER_MODEL, check_length, parse_settings, write_settings
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.vision import Finder, VisionBrain
from grapheme_pyg.vision.finder import FINDERS

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel

# Options of models whose features have version 1, which had no levels relative to the ground.
OF_FEATURES_1 = {"resize": None, "relative": False}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Bytes that the weights may take besides their values: for the shape and place of each tensor, and in all.
TENSOR_BYTES, HEADER_BYTES = 256, 2**12
# Tensors that memories of earlier versions lack: each of their keys was of one image.
NOT_IN_EARLIER = ("positions", "total", "allowances", "means", "shots")
# Ranges of tensors with these names; outside of them, similarities could be infinite or meaningless. Temperatures are
# used up to e^±10, and training goes hardly further.
RANGES = {
    "log_temperature": (-20, 20, "a logarithm of a temperature in -20…20"),
    "running_var": (0, math.inf, "no negative variance"),
    "memory.keys": (-1, 1, "keys in [-1, 1]"),
    "memory.means": (-1, 1, "means of keys in [-1, 1]"),
    "memory.positions": (0, 2**62, "positions from 0 on"),
    "memory.total": (0, 2**62, "no negative number"),
    "memory.offsets": (-4, 4, "offsets of cosines in [-4, 4]"),
    "memory.allowances": (0, 1, "allowances of cosines in [0, 1]"),
    "memory.shots": (-1, 1, "cosines in [-1, 1]"),
    "memory.quantiles": (-1, 1, "cosines in [-1, 1]"),
}

Model = TypeVar("Model", bound="ImageClassificationModel")


def save_model(model: "ImageClassificationModel", folder: Path) -> None:
    """Writes weights and settings, with the checksums of both; the two replace those in the folder as one.

    Raises:
        ModelFileError: The model is one that :func:`load_model` would refuse.
        OSError: A file cannot be written; the folder holds the model from before or the new one.
    """
    if len(dtypes := {parameter.dtype for parameter in model.parameters()}) > 1:
        raise ModelFileError(f"model: expected parameters of one dtype, got {sorted(map(str, dtypes))}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(model).items()}
    weights = save(tensors)
    settings = write_settings(model, hashlib.sha256(weights).hexdigest())
    with naming(folder / CONFIG):
        parse_settings(settings, len(weights))
    with naming(folder / WEIGHTS):
        _check_values(tensors)
    write_model_files(folder, settings, weights)


def check_settings(model: "ImageClassificationModel") -> None:
    """Refuses a model whose settings could not be loaded, whatever its weights will be.

    Raises:
        ValueError: A setting is invalid; the message names it.
    """
    try:
        parse_settings(*_smallest(model))
    except TypeError as error:
        raise ValueError(f"vision: expected options of types that JSON has, got others: {error}") from error


def check_class_name(argument: str, name: str, model: "ImageClassificationModel") -> None:
    """Refuses the name of a class with which a model could not be saved.

    Raises:
        ValueError: The name has control characters or lone surrogates, or is too long.
    """
    check_name(argument, name)
    check_length(*_smallest(model, name))


def _smallest(model: "ImageClassificationModel", *added_classes: str) -> tuple[bytes, int]:
    """Returns the settings of a model, and the bytes of its weights in half precision, their smallest file."""
    size = sum(2 * tensor.numel() for tensor in _tensors(model).values())
    return write_settings(model, hashlib.sha256().hexdigest(), added_classes), size


def load_model(cls: type[Model], folder: Path) -> Model:
    """Reads a model, in evaluation mode and on the CPU.

    The settings are read first. The model that they describe is made without values, and limits how much is read of the
    weights, which must have the right checksum and the shapes of that model.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ModelFileError: A file is not regular, too large, damaged, or of another format or version; the two do not fit
            together; or a weight is not finite. The message names the file and the field.
    """
    with open_model_files(folder) as (text, path, weights):
        with naming(folder / CONFIG):
            settings = parse_settings(text, os.fstat(weights.fileno()).st_size)
            model = _build(cls, settings)
        with naming(path):
            tensors = _read_tensors(weights, model, settings["sha256"])
            model.load_state_dict(tensors | {"dag._extra_state": settings["relations"]}, assign=True)
            if model.classifier.memory is not None:
                model.classifier.memory.check()
    return model.eval()


def _build(cls: type[Model], settings: dict[str, Any]) -> Model:
    """Makes the model of checked settings on the device ``meta``, where weights take no memory.

    Its modules take some, but their number is limited by that of the relations, which the settings list one by one.
    """
    try:
        options = dict(settings["vision"])
        if options.pop("features", 1) == 1:
            finder = FINDERS.get(options["mode"], Finder)
            options = OF_FEATURES_1 | finder.of_version_1 | options
        vision = VisionBrain(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"vision.{error}") from error
    expected, came = EdgeVocabulary(vision.metadata).relations, settings["relations"]
    for pair in expected | came:
        ours, theirs = expected.get(pair, []), came.get(pair, [])
        if not isinstance(theirs, list) or sorted(map(repr, theirs)) != sorted(map(repr, ours)):
            raise ValueError(f"relations.{pair}: expected {ours} in any order, got {theirs}")
    added = settings["memory"]["added_classes"] if settings["memory"] else []
    trained = settings["model"]["classes"]
    known = set(map(canonical, trained))
    names = [*trained, *(name for name in added if canonical(name) not in known)]
    for some in (names, added):
        if some:
            to_names(some)
    with torch.device("meta"):
        model = cls(vision, **(OF_EARLIER_MODEL | settings["model"]))
        if settings["memory"]:
            width, num_keys = settings["memory"].get("width"), settings["memory"]["num_keys"]
            model.classifier.memory = Memory(model.classifier.pooled_channels, width, num_keys, len(added))
            model.classifier.classes, model.classifier.taught = names, list(added)
    if settings.get("home") is not None:
        model.home = Home.from_config(settings["home"])
    return model


def _tensors(model: "ImageClassificationModel") -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _read_tensors(file: BinaryIO, model: "ImageClassificationModel", sha256: str) -> dict[str, Tensor]:
    """Reads the weights of a model on the device ``meta``, which is converted to their precision.

    Raises:
        ValueError: The weights are too large, do not fit the model, have another checksum, or are not finite.
    """
    expected = _tensors(model)
    most_header = HEADER_BYTES + sum(len(name) + TENSOR_BYTES for name in expected)
    most = most_header + sum(8 * tensor.numel() for tensor in expected.values())
    if (size := os.fstat(file.fileno()).st_size) > most:
        raise ValueError(f"expected at most {most} bytes, got {size}")
    content = file.read(size)
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"expected SHA-256 {sha256}, got {digest}")
    # The length of the header comes first. Very many empty tensors in it would take far more memory than bytes.
    if (length := int.from_bytes(content[:8], "little")) > most_header:
        raise ValueError(f"header: expected at most {most_header} bytes, got {length}")
    tensors = load(content)
    del content
    if (memory := model.classifier.memory) is not None:
        empty = Memory(1, memory.keys.shape[1], len(memory.keys), memory.num_added)
        tensors = {f"classifier.memory.{name}": getattr(empty, name) for name in NOT_IN_EARLIER} | tensors
    templates = tensors.get("classifier.templates")
    if templates is not None and templates.dtype in DTYPES:
        expected = _tensors(model.to(templates.dtype))
    for name in expected | tensors:
        wanted, came = _described(expected.get(name)), _described(tensors.get(name))
        if wanted != came:
            raise ValueError(f"{name}: expected {wanted}, as {CONFIG} says, got {came}")
    _check_values(tensors)
    # PyTorch aligns tensors for vector instructions, safetensors does not.
    return {name: tensors.pop(name).clone() for name in expected}


def _described(tensor: Tensor | None) -> str:
    return "no tensor" if tensor is None else f"{tensor.dtype} of shape {list(tensor.shape)}"


def _check_values(tensors: dict[str, Tensor]) -> None:
    """Refuses values that are not finite, except quantiles before calibration, and values outside of `RANGES`."""
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or (name.endswith(".quantiles") and bool(tensor.isnan().all())):
            continue
        least, greatest = (value.item() for value in tensor.aminmax())
        if not (math.isfinite(least) and math.isfinite(greatest)):
            raise ValueError(f"{name}: expected finite values, got {least} to {greatest}")
        for ending, (low, high, expected) in RANGES.items():
            if name.endswith(f".{ending}") and not low <= least <= greatest <= high:
                raise ValueError(f"{name}: expected {expected}, got {least if least < low else greatest:.4g}")
