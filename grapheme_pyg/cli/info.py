"""``grapheme info``: a description of a model."""

from json import dumps
from pathlib import Path
from typing import Any

from torch import nn

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.ops import describe_kernels


def info(model: Path, *, json: bool = False) -> None:
    """Describes a model: its classes, weights, graphs and taught classes.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        json: Whether to print all settings as a JSON object.
    """
    network = ImageClassificationModel.from_pretrained(model)
    node_types, edge_types = network.vision.metadata
    memory = network.classifier.memory
    parts: dict[str, nn.Module] = {"dag": network.dag, "classifier": network.classifier}
    facts = {
        "classes": network.classes,
        "weights": sum(weight.numel() for weight in network.parameters()),
        "weights_by_part": {name: sum(w.numel() for w in part.parameters()) for name, part in parts.items()},
        "mode": network.vision.mode,
        "node_types": len(node_types),
        "edge_types": len(edge_types),
        "templates_per_class": network.classifier.templates.shape[1],
        "taught": {} if memory is None else dict(zip(network.classifier.taught, memory.examples(), strict=True)),
        "keys_in_memory": 0 if memory is None else len(memory.keys),
        "kernels": describe_kernels(),
        "vision": network.vision.config,
        "model": network.config,
    }
    if json:
        print(dumps(facts, indent=2, allow_nan=False))
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' '):20}{_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        # The classes have their own line.
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items() if name != "classes")
    if isinstance(value, list):
        return " ".join(map(_shown, value)) if value and isinstance(value[0], int) else ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
