"""What a model's config.json may say: its fields, their ranges, and how much a file of weights can be asked for."""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from grapheme_pyg.nn.classification_brain import TEMPLATE_UPDATES
from grapheme_pyg.nn.dag_nn import NORMS
from grapheme_pyg.nn.readout import READOUTS
from grapheme_pyg.nn.vocabulary import RelationNames
from grapheme_pyg.vision.brain import FINDERS
from grapheme_pyg.vision.checks import is_int

# Models of before these were there mean their defaults.
LATER_VISION = frozenset({"resize", "white", "contours", "detections"})
# Pixels a side that images are brought to, and regions, whose distances SLIC keeps for each pair: with more, one image
# would fill the memory.
LARGEST_RESIZE, MOST_REGIONS = 4096, 4096
SHOWN = 120

Rule = tuple[Callable[[Any], bool], str]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_name(value: object) -> bool:
    """Whether a value is text that can be shown: no control characters, which a terminal would obey, no half ones."""
    return isinstance(value, str) and all(unicodedata.category(character) not in ("Cc", "Cs") for character in value)


def _are_names(value: object, fewest: int) -> bool:
    if not isinstance(value, list) or len(value) < fewest or not all(is_name(item) for item in value):
        return False
    return len(set(value)) == len(value)


def _one_of(choices: tuple[str | None, ...]) -> Rule:
    return lambda value: (value is None or isinstance(value, str)) and value in choices, f"one of {choices}"


SWITCH: Rule = lambda value: isinstance(value, bool), "true or false"
# Checked by the finder that it is an option of.
OPTION: Rule = lambda value: True, "an option"  # noqa: ARG005 - a rule takes a value
POSITIVE: Rule = lambda value: is_int(value, 1), "a positive integer"
TOP: dict[str, Rule] = {
    "vision": (lambda value: isinstance(value, dict), "an object"),
    "model": (lambda value: isinstance(value, dict), "an object"),
    "memory": (lambda value: value is None or isinstance(value, dict), "an object or null"),
    "relations": (lambda value: isinstance(value, dict), "an object"),
}
VISION: dict[str, Rule] = {
    "mode": _one_of(tuple(FINDERS)),
    "in_channels": (lambda value: is_int(value, 1) and value in (1, 3), "1 or 3"),
    "edge_attr": SWITCH,
    "seg": SWITCH,
    "resize": (
        lambda value: value is None or (is_int(value, 1) and value <= LARGEST_RESIZE),
        f"an integer in 1…{LARGEST_RESIZE} or null",
    ),
    "white": (
        lambda value: value is None or (is_int(value, 1) and value < 2**16),
        "an integer in 1…65535 or null",
    ),
    "contours": SWITCH,
    "detections": SWITCH,
}
MODEL: dict[str, Rule] = {
    "classes": (lambda value: _are_names(value, 1), "distinct names without control characters"),
    "hidden_channels": (
        lambda value: isinstance(value, list) and len(value) > 0 and all(is_int(width, 1) for width in value),
        "positive integers",
    ),
    "norm": _one_of(NORMS),
    "embedding_channels": POSITIVE,
    "templates_per_class": POSITIVE,
    "template_update": _one_of(TEMPLATE_UPDATES),
    "dropout": (lambda value: _is_number(value) and 0 <= value < 1, "a number in [0, 1)"),
    "readout": _one_of(READOUTS),
}
MEMORY: dict[str, Rule] = {
    "num_keys": POSITIVE,
    "added_classes": (lambda value: _are_names(value, 0), "distinct names without control characters"),
}


def check_config(config: dict[str, Any]) -> None:
    """Refuses a config with a field that is missing, unknown or out of its range; all but format and checksums.

    Raises:
        ValueError: The message names the field.
    """
    _check_fields("", config, TOP)
    vision, model, memory = (config[name] for name in ("vision", "model", "memory"))
    _check_fields("model.", model, MODEL)
    for pair, names in config["relations"].items():
        if not _are_names(names, 1):
            raise ValueError(f"relations.{pair[:SHOWN]}: expected distinct names, got {repr(names)[:SHOWN]}")
    if memory is not None:
        _check_fields("memory.", memory, MEMORY)
        if both := sorted(set(memory["added_classes"]) & set(model["classes"])):
            raise ValueError(f"memory.added_classes: expected no name of model.classes, got {both[0][:SHOWN]!r}")
    _check_fields("vision.", {name: vision[name] for name in VISION if name in vision}, VISION, LATER_VISION)
    finder = FINDERS[vision["mode"]]
    options = {field.name: OPTION for field in fields(finder) if field.name != "in_channels"}
    _check_fields("vision.", vision, VISION | options, LATER_VISION)
    try:
        finder(**{field.name: vision[field.name] for field in fields(finder)})
    except ValueError as error:
        raise ValueError(f"vision.{error}") from error
    if vision.get("num_regions", 0) > MOST_REGIONS:
        raise ValueError(f"vision.num_regions: expected at most {MOST_REGIONS}, got {vision['num_regions']}")


def _check_fields(
    prefix: str, came: dict[str, Any], rules: dict[str, Rule], optional: frozenset[str] = frozenset()
) -> None:
    for name, (holds, expected) in rules.items():
        if name not in came:
            if name in optional:
                continue
            raise ValueError(f"{prefix}{name}: expected {expected}, got no such field")
        if not holds(came[name]):
            raise ValueError(f"{prefix}{name}: expected {expected}, got {repr(came[name])[:SHOWN]}")
    if unknown := [name for name in came if name not in rules]:
        raise ValueError(f"{prefix}{unknown[0][:SHOWN]}: expected a field that is known, one of {sorted(rules)}")


def check_extent(config: dict[str, Any], num_tensors: int, size: int) -> None:
    """Refuses settings that ask for more than a file of weights can hold, by arithmetic alone.

    After it, what is made to find out which weights a config asks for is in proportion to the file.

    Args:
        config: As :func:`check_config` accepts it.
        num_tensors: That the weights have.
        size: Of the weights in bytes.

    Raises:
        ValueError: The message names the field.
    """
    vision, model, memory = (config[name] for name in ("vision", "model", "memory"))
    window = vision.get("patch_size", 0) + 2 * vision.get("margin", 0)
    asked = {
        "model.hidden_channels": max(model["hidden_channels"]),
        "model.embedding_channels": model["embedding_channels"],
        "model.templates_per_class": len(model["classes"]) * model["templates_per_class"],
        "vision.patch_size and margin": window**2,
        "memory.num_keys": memory["num_keys"] if memory else 0,
        "memory.added_classes": len(memory["added_classes"]) if memory else 0,
    }
    for name, count in asked.items():
        if count > size:
            raise ValueError(f"{name}: expected what weights of {size} bytes can hold, got {count} numbers or more")
    # Each node type has a tensor of its own, and so has each pair of blobs of which one is of a higher threshold.
    rounds, thresholds = vision.get("rounds", []), len(vision.get("thresholds", []))
    types = sum(rounds) + 2 * thresholds * vision.get("blob_rounds", 0)
    if vision.get("detections"):
        types += 2 * rounds[0] if rounds else 2 * vision["blob_rounds"]
    tensors = types + 2 * thresholds * (thresholds - 1)
    if tensors > num_tensors:
        raise ValueError(
            f"vision.rounds and thresholds: expected those of {num_tensors} tensors, which the weights have, "
            f"got such of at least {tensors}"
        )


def check_relations(came: RelationNames, expected: RelationNames) -> None:
    """Refuses names of relations that are not those of a vocabulary, in whatever order.

    Raises:
        ValueError: Naming the first that is missing or unknown.
    """
    for pair in [*expected, *came]:
        ours, theirs = (sorted(names.get(pair, [])) for names in (expected, came))
        if ours != theirs:
            name = min(set(ours) ^ set(theirs))
            expected_it, got_it = ("it", "none") if name in ours else ("none", "one")
            raise ValueError(f"relations.{pair[:SHOWN]}: {name[:SHOWN]}: expected {expected_it}, got {got_it}")
