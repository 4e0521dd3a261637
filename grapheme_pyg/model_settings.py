"""The settings of a saved model, as JSON: how they are written, and which are accepted from strangers."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from grapheme_pyg.model_folder import MOST_SETTINGS_BYTES
from grapheme_pyg.names import are_names
from grapheme_pyg.nn.classification_brain import TEMPLATE_UPDATES
from grapheme_pyg.nn.dag_nn import NORMS
from grapheme_pyg.nn.readout import READOUTS

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel

FORMAT, FORMAT_VERSION = "grapheme_pyg.ImageClassificationModel", 1
# Version of the meaning of graphs' features. Models without a version, such as those of 0.1, have version 1.
FEATURES = 2
# Bytes of settings, besides a sixteenth of the weights: Python's objects take up to 24 times the JSON they are made of.
SETTINGS_BYTES = 2**18
# Limits of numbers and lists for all finders, which make their vocabularies before weights are read.
LARGEST, LONGEST = 2**24, 64

Rule = tuple[Callable[[Any], bool], str]


def _are_names(value: object) -> bool:
    return isinstance(value, list) and are_names(value) and len(set(value)) == len(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _is_option(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    numbers = [item for item in items if item is not None and not isinstance(item, str)]
    return len(items) <= LONGEST and all(isinstance(it, int | float) and abs(it) <= LARGEST for it in numbers)


def _one_of(choices: tuple[str | None, ...]) -> Rule:
    return lambda value: value in choices, f"one of {choices}"


def _version(newest: int) -> Rule:
    expected = f"an integer in 1…{newest}, as only newer versions of the library write larger ones"
    return lambda value: _is_count(value) and value <= newest, expected


OBJECT: Rule = lambda value: isinstance(value, dict), "an object"
OBJECT_OR_NULL: Rule = lambda value: value is None or isinstance(value, dict), "an object or null"
TEXT: Rule = lambda value: isinstance(value, str), "text"
SWITCH: Rule = lambda value: isinstance(value, bool), "true or false"
COUNT: Rule = _is_count, f"an integer in 1…{LARGEST}"
NAMES: Rule = _are_names, "distinct names without control characters"
# Finders check their own options later.
OPTION: Rule = _is_option, f"text, a number up to {LARGEST}, or a list of at most {LONGEST} of them"
TOP: dict[str, Rule] = {
    "format": (lambda value: value == FORMAT, repr(FORMAT)),
    "format_version": _version(FORMAT_VERSION),
    "sha256": TEXT,
    "vision": OBJECT,
    "model": OBJECT,
    "memory": OBJECT_OR_NULL,
    "relations": OBJECT,
    "home": OBJECT_OR_NULL,
}
MODEL: dict[str, Rule] = {
    "classes": NAMES,
    "hidden_channels": (lambda value: type(value) is list and all(map(_is_count, value)), f"integers in 1…{LARGEST}"),
    "norm": _one_of(NORMS),
    "residual": SWITCH,
    "embedding_channels": COUNT,
    "templates_per_class": COUNT,
    "template_update": _one_of(TEMPLATE_UPDATES),
    "dropout": (lambda value: type(value) in (int, float) and 0 <= value < 1, "a number in [0, 1)"),
    "readout": _one_of(READOUTS),
    "drawings": SWITCH,
}
MEMORY: dict[str, Rule] = {
    "width": (lambda value: value is None or _is_count(value), f"{COUNT[1]} or null"),
    "num_keys": (lambda value: value == 0 or _is_count(value), f"0 or {COUNT[1]}"),
    "added_classes": NAMES,
}
# Values of fields that models of earlier versions lack. Their keys were as wide as pooled states.
OF_EARLIER_TOP, OF_EARLIER_MODEL, OF_EARLIER_MEMORY = (
    {"home": None},
    {"residual": False, "drawings": False},
    {"width": None},
)


def write_settings(model: "ImageClassificationModel", sha256: str, added_classes: Sequence[str] = ()) -> bytes:
    """Returns the settings of a model as JSON, with a field on each line.

    Args:
        model: The model.
        sha256: The checksum of its weights.
        added_classes: Names of classes to count as taught, besides those of the model.
    """
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
        # The names of the relations in the order of the weights, which are loaded by these names.
        "relations": model.dag.get_extra_state(),
    }
    settings["settings_sha256"] = _digest(settings)
    lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def check_length(text: bytes, size: int) -> None:
    """Refuses settings that are too long for weights of so many bytes.

    Raises:
        ValueError: Naming both numbers of bytes.
    """
    if len(text) > (most := min(SETTINGS_BYTES + size // 16, MOST_SETTINGS_BYTES)):
        raise ValueError(f"expected at most {most} bytes, got {len(text)} for weights of {size} bytes")


def parse_settings(text: bytes, size: int) -> dict[str, Any]:
    """Reads settings from JSON, and checks names, ranges and the checksum.

    Args:
        text: The JSON.
        size: Bytes of the weights, which bound those of the settings.

    Raises:
        ValueError: The settings are invalid; the message names the field.
    """
    check_length(text, size)
    settings = json.loads(text.decode())
    if not isinstance(settings, dict):
        raise ValueError(f"expected an object, got {type(settings).__name__}")
    # Models of early versions have no checksum.
    digest = settings.pop("settings_sha256", None)
    _check_fields("", OF_EARLIER_TOP | settings, TOP)
    _check_fields("model.", OF_EARLIER_MODEL | settings["model"], MODEL)
    if settings["memory"] is not None:
        _check_fields("memory.", OF_EARLIER_MEMORY | settings["memory"], MEMORY)
    vision = {"features": 1} | settings["vision"]
    _check_fields("vision.", vision, dict.fromkeys(vision, OPTION) | {"features": _version(FEATURES)})
    if digest is not None and digest != _digest(settings):
        raise ValueError(f"settings_sha256: expected {_digest(settings)}, that of the other fields, got {digest!r}")
    return settings


def _check_fields(prefix: str, came: dict[str, Any], rules: dict[str, Rule]) -> None:
    for name, (holds, expected) in rules.items():
        if name not in came:
            raise ValueError(f"{prefix}{name}: expected {expected}, got no such field")
        if not holds(came[name]):
            raise ValueError(f"{prefix}{name}: expected {expected}, got {came[name]!r}")
    if unknown := came.keys() - rules:
        raise ValueError(f"{prefix}{min(unknown)}: expected a known field, one of {sorted(rules)}")


def _digest(settings: dict[str, Any]) -> str:
    """Returns the SHA-256 of the fields, which does not depend on their order or on white space."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
