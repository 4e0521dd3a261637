"""Models on disk: weights as safetensors, settings as JSON, a checksum of each. Files may come from strangers."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.home import Home
from grapheme_pyg.labels import canonical, to_names
from grapheme_pyg.model_folder import CONFIG, MOST_SETTINGS_BYTES, WEIGHTS, naming, open_model_files, write_model_files
from grapheme_pyg.names import is_name
from grapheme_pyg.nn.classification_brain import TEMPLATE_UPDATES
from grapheme_pyg.nn.dag_nn import NORMS
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.nn.readout import READOUTS
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.vision import Finder, VisionBrain
from grapheme_pyg.vision.finder import FINDERS

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel

FORMAT, FORMAT_VERSION = "grapheme_pyg.ImageClassificationModel", 1
# Version of what the features of graphs mean. Models that do not say theirs, as those of 0.1, have 1; it has no levels
# relative to the ground.
FEATURES = 2
OF_FEATURES_1 = {"resize": None, "relative": False}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Bytes of settings, beside a sixteenth of the weights: Python's objects take up to 24 times the JSON they are made of.
SETTINGS_BYTES = 2**18
# Bytes that the weights may take beside their values: for the shape and place of each tensor, and in all.
TENSOR_BYTES, HEADER_BYTES = 256, 2**12
# Limits of numbers and lists in settings, whatever the finder: it makes its vocabulary before weights are read.
LARGEST, LONGEST = 2**24, 64
# What training and memories leave of tensors with these names; outside of it, answers may be infinite or mean nothing.
# Temperatures are used up to e^±10, which no step of training takes them far beyond.
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
Rule = tuple[Callable[[Any], bool], str]


def save_model(model: "ImageClassificationModel", folder: Path) -> None:
    """Writes the weights, and the settings with the checksums of both, so that they replace those of before as one.

    Raises:
        ModelFileError: The model is one that :func:`load_model` would refuse.
        OSError: A file cannot be written; the folder holds what it held before, or the new model.
    """
    if len(dtypes := {parameter.dtype for parameter in model.parameters()}) > 1:
        raise ModelFileError(f"model: expected parameters of one dtype, got {sorted(map(str, dtypes))}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(model).items()}
    weights = save(tensors)
    settings = _write(model, hashlib.sha256(weights).hexdigest())
    with naming(folder / CONFIG):
        _parse(settings, len(weights))
    with naming(folder / WEIGHTS):
        _check_values(tensors)
    write_model_files(folder, settings, weights)


def check_settings(model: "ImageClassificationModel", added_classes: Sequence[str] = ()) -> None:
    """Refuses a model whose settings could not be loaded, whatever its weights will be.

    Args:
        model: The model.
        added_classes: Names of classes that are to be added.

    Raises:
        ValueError: Naming the setting.
    """
    # No weights have smaller files than those in half precision.
    size = sum(2 * tensor.numel() for tensor in _tensors(model).values())
    try:
        _parse(_write(model, hashlib.sha256().hexdigest(), added_classes), size)
    except TypeError as error:
        raise ValueError(f"vision: expected options of types that JSON has, got others: {error}") from error


def _write(model: "ImageClassificationModel", sha256: str, added_classes: Sequence[str] = ()) -> bytes:
    """The settings of a model with weights of that sum, each on a line of its own."""
    memory = model.classifier.memory
    settings: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sha256": sha256,
        "vision": {"features": FEATURES} | model.vision.config,
        "model": model.config,
        "home": None if model.home is None else model.home.config,
        "memory": None
        if memory is None
        else {
            "width": memory.keys.shape[1],
            "num_keys": len(memory.keys),
            "added_classes": [*model.classifier.taught, *added_classes],
        },
        # What each row of a weight is for; loading matches by these names.
        "relations": model.dag.get_extra_state(),
    }
    settings["settings_sha256"] = _digest(settings)
    lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def load_model(cls: type[Model], folder: Path) -> Model:
    """Reads a model, in evaluation mode, on the CPU.

    The settings are read first. The model that they describe is made without values, and bounds what is read of the
    weights; these must have their checksum, and the shapes of that model.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ModelFileError: One is no regular file, too large, damaged, or of another format or version; they do not fit
            together; or a weight is not finite. The message names the file and the field.
    """
    with open_model_files(folder) as (text, path, weights):
        with naming(folder / CONFIG):
            settings = _parse(text, os.fstat(weights.fileno()).st_size)
            model = _build(cls, settings)
        with naming(path):
            tensors = _read_tensors(weights, model, settings["sha256"])
            model.load_state_dict(tensors | {"dag._extra_state": settings["relations"]}, assign=True)
            if model.classifier.memory is not None:
                model.classifier.memory.check()
    return model.eval()


def _most_settings(size: int) -> int:
    """Bytes that settings may have beside weights of so many."""
    return min(SETTINGS_BYTES + size // 16, MOST_SETTINGS_BYTES)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(map(is_name, value)) and len(set(value)) == len(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _is_option(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    numbers = [item for item in items if item is not None and not isinstance(item, str)]
    return len(items) <= LONGEST and all(isinstance(it, int | float) and abs(it) <= LARGEST for it in numbers)


def _one_of(choices: tuple[str | None, ...]) -> Rule:
    return lambda value: value in choices, f"one of {choices}"


def _version(newest: int) -> Rule:
    expected = f"an integer in 1…{newest}, as newer versions of the library alone write larger ones"
    return lambda value: _is_count(value) and value <= newest, expected


OBJECT: Rule = lambda value: isinstance(value, dict), "an object"
TEXT: Rule = lambda value: isinstance(value, str), "text"
COUNT: Rule = _is_count, f"an integer in 1…{LARGEST}"
NAMES: Rule = _are_names, "distinct names without control characters"
# Finders check their own options; these limits come before.
OPTION: Rule = _is_option, f"text, a number up to {LARGEST}, or a list of at most {LONGEST} of them"
TOP: dict[str, Rule] = {
    "format": (lambda value: value == FORMAT, repr(FORMAT)),
    "format_version": _version(FORMAT_VERSION),
    "sha256": TEXT,
    "vision": OBJECT,
    "model": OBJECT,
    "memory": (lambda value: value is None or isinstance(value, dict), "an object or null"),
    "relations": OBJECT,
    "home": (lambda value: value is None or isinstance(value, dict), "an object or null"),
}
MODEL: dict[str, Rule] = {
    "classes": NAMES,
    "hidden_channels": (lambda value: type(value) is list and all(map(_is_count, value)), f"integers in 1…{LARGEST}"),
    "norm": _one_of(NORMS),
    "residual": (lambda value: isinstance(value, bool), "true or false"),
    "embedding_channels": COUNT,
    "templates_per_class": COUNT,
    "template_update": _one_of(TEMPLATE_UPDATES),
    "dropout": (lambda value: type(value) in (int, float) and 0 <= value < 1, "a number in [0, 1)"),
    "readout": _one_of(READOUTS),
    "drawings": (lambda value: isinstance(value, bool), "true or false"),
}
# What models of earlier versions do not say.
OF_EARLIER = {"residual": False, "drawings": False}
MEMORY: dict[str, Rule] = {
    "width": (lambda value: value is None or _is_count(value), f"{COUNT[1]} or null"),
    "num_keys": (lambda value: value == 0 or _is_count(value), f"0 or {COUNT[1]}"),
    "added_classes": NAMES,
}
# What memories of earlier versions do not say, or have: keys as wide as pooled states, each of one image.
OF_EARLIER_MEMORY = {"width": None}
NOT_IN_EARLIER = ("positions", "total", "allowances", "means", "shots")


def _check_fields(prefix: str, came: dict[str, Any], rules: dict[str, Rule]) -> None:
    for name, (holds, expected) in rules.items():
        if name not in came:
            raise ValueError(f"{prefix}{name}: expected {expected}, got no such field")
        if not holds(came[name]):
            raise ValueError(f"{prefix}{name}: expected {expected}, got {came[name]!r}")
    if unknown := came.keys() - rules:
        raise ValueError(f"{prefix}{min(unknown)}: expected a field that is known, one of {sorted(rules)}")


def _parse(text: bytes, size: int) -> dict[str, Any]:
    """Reads settings beside weights of so many bytes; refuses a name, a range or a checksum by a ValueError."""
    if len(text) > (most := _most_settings(size)):
        raise ValueError(f"expected at most {most} bytes, got {len(text)} beside weights of {size}")
    settings = json.loads(text.decode())
    if not isinstance(settings, dict):
        raise ValueError(f"expected an object, got {type(settings).__name__}")
    # Models of early versions have none.
    digest = settings.pop("settings_sha256", None)
    # Those of 0.1 do not know what training images were like.
    _check_fields("", {"home": None} | settings, TOP)
    _check_fields("model.", OF_EARLIER | settings["model"], MODEL)
    if settings["memory"] is not None:
        _check_fields("memory.", OF_EARLIER_MEMORY | settings["memory"], MEMORY)
    vision = {"features": 1} | settings["vision"]
    _check_fields("vision.", vision, dict.fromkeys(vision, OPTION) | {"features": _version(FEATURES)})
    if digest is not None and digest != _digest(settings):
        raise ValueError(f"settings_sha256: expected {_digest(settings)}, that of the other fields, got {digest!r}")
    return settings


def _digest(settings: dict[str, Any]) -> str:
    """SHA-256 of the fields, whatever their order and the white space between them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _build(cls: type[Model], settings: dict[str, Any]) -> Model:
    """Makes the model of checked settings on the device ``meta``, where weights take no memory.

    Its modules do. There are at most as many as there are relations, which the settings list one by one.
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
        model = cls(vision, **(OF_EARLIER | settings["model"]))
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
    """Reads the weights of a model on the device ``meta``, which is put into their precision.

    Raises:
        ValueError: They are larger or others than the model asks for, have another checksum, or are not finite.
    """
    expected = _tensors(model)
    most_header = HEADER_BYTES + sum(len(name) + TENSOR_BYTES for name in expected)
    content = _read(file, most_header + sum(8 * tensor.numel() for tensor in expected.values()))
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"expected SHA-256 {sha256}, got {digest}")
    # Its length stands first. Each of very many empty tensors would take far more memory than bytes.
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
            raise ValueError(f"{name}: expected {wanted}, which {CONFIG} asks for, got {came}")
    _check_values(tensors)
    # PyTorch aligns them for vector instructions, which the library does not.
    return {name: tensors.pop(name).clone() for name in expected}


def _described(tensor: Tensor | None) -> str:
    return "no tensor" if tensor is None else f"{tensor.dtype} of shape {list(tensor.shape)}"


def _check_values(tensors: dict[str, Tensor]) -> None:
    """Refuses values that are not finite, but for quantiles before they are calibrated, and those out of `RANGES`."""
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or (name.endswith(".quantiles") and bool(tensor.isnan().all())):
            continue
        least, greatest = (value.item() for value in tensor.aminmax())
        if not (math.isfinite(least) and math.isfinite(greatest)):
            raise ValueError(f"{name}: expected finite values, got {least} to {greatest}")
        for ending, (low, high, expected) in RANGES.items():
            if name.endswith(f".{ending}") and not low <= least <= greatest <= high:
                raise ValueError(f"{name}: expected {expected}, got {least if least < low else greatest:.4g}")


def _read(file: BinaryIO, most: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise ValueError(f"expected at most {most} bytes, got {size}")
    return file.read(size)
