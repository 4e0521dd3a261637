"""InputFormat: the inputs of an exported model, as plain values that JSON can hold."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from typing import Any, Self

import torch

from grapheme_pyg.checks import as_int
from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.model import EDGE_DIM, ImageClassificationModel, read_features
from grapheme_pyg.model_settings import COUNT, MODEL, OPTION, Rule
from grapheme_pyg.names import shortened
from grapheme_pyg.nn.readout import READOUTS
from grapheme_pyg.nn.readout import Readout as ModelReadout
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.vision import VisionBrain

FORMAT, FORMAT_VERSION = "grapheme_pyg.export", 2
# Rules for fields of a file, which are checked first. All other fields follow from these, and are compared.
RULES: dict[str, Rule] = {
    "classes": MODEL["classes"],
    "max_size": COUNT,
    "vision": (lambda value: isinstance(value, dict) and all(map(OPTION[0], value.values())), f"for each: {OPTION[1]}"),
    "generations": (lambda value: isinstance(value, list), "a list"),
}
SHOWN = 200


@dataclass(frozen=True)
class Source:
    """Nodes of one type whose states a generation reads.

    Attributes:
        node_type: Name of the node type.
        generations: The earlier generations with nodes of this type, whose rows are numbered one after the other.
        edge_types: The number of each relation in the graphs' field ``edge_type``, in the order of the weights.
        relations: Names of the relations.
    """

    node_type: str
    generations: list[int]
    edge_types: list[int]
    relations: list[str]


@dataclass(frozen=True)
class Generation:
    """Nodes of one type and level, which are computed together.

    Attributes:
        name: Name of the node type.
        node_type: Its number in the graphs' field ``node_type``.
        level: The level in the graphs' field ``level``.
        num_features: Number of leading columns of the graphs' field ``x`` that the nodes use; 0 for none.
        sources: Nodes whose states are read.
    """

    name: str
    node_type: int
    level: int
    num_features: int
    sources: list[Source]

    @property
    def has_own(self) -> bool:
        """Whether the nodes' features are an input; without sources, they determine the number of nodes."""
        return self.num_features > 0 or not self.sources


@dataclass(frozen=True)
class Readout:
    """Nodes that are pooled together.

    Attributes:
        generations: The generations with nodes that may be pooled, whose rows are numbered one after the other.
        node_types: The node types that are pooled, besides all nodes without outgoing edges.
    """

    generations: list[int]
    node_types: list[int]


@dataclass(frozen=True)
class InputFormat:
    """The input tensors of an exported model, and how to make them; docs/export.md describes them in full.

    Attributes:
        classes: Names of the classes, in the order of the logits.
        generations: The generations, in the order in which they are computed.
        readouts: The nodes that are pooled together, for each kind of node.
        edge_dim: Width of edge attributes; 0 if none are read.
        single: Whether a node has at most one neighbour by each relation.
        max_size: The most pixels that a side of an image may have.
        vision: The settings of the :class:`grapheme_pyg.VisionBrain` that makes the graphs.
    """

    classes: list[str]
    generations: list[Generation]
    readouts: list[Readout]
    edge_dim: int
    single: bool
    max_size: int
    vision: dict[str, Any]

    @classmethod
    def of(cls, model: ImageClassificationModel, max_size: int) -> Self:
        """Returns the input format of a model for images of up to ``max_size`` pixels a side.

        Raises:
            ValueError: ``max_size`` is not a positive integer.
        """
        generations = list(_generations(model.vision, as_int("max_size", max_size, 1)))
        readouts = _readouts(model.vision, model.readout.method, generations)
        return cls._of(model.vision, list(model.classes), generations, readouts, max_size)

    @classmethod
    def _of(
        cls,
        vision: VisionBrain,
        classes: list[str],
        generations: list[Generation],
        readouts: list[Readout],
        max_size: int,
    ) -> Self:
        return cls(
            classes=classes,
            generations=generations,
            readouts=readouts,
            edge_dim=EDGE_DIM if vision.edge_attr else 0,
            single=vision.finder.single_neighbours and not (vision.contours or vision.detections),
            max_size=max_size,
            vision=vision.config,
        )

    @property
    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Names and shapes of the tensors, in order; lengths that depend on the graph have names.

        :meth:`dtype` returns the dtypes.
        """
        shapes: dict[str, tuple[int | str, ...]] = {"edge_attr": ("edges", self.edge_dim)} if self.edge_dim else {}
        for number, generation in enumerate(self.generations):
            nodes = f"nodes_{number}"
            if generation.has_own:
                shapes[f"x_{number}"] = (nodes, generation.num_features)
            for source in generation.sources:
                place = f"{number}_{source.node_type}"
                table = (nodes, len(source.relations))
                shapes[f"rows_{place}"] = table
                if not self.single:
                    shapes[f"sources_{place}"] = (f"edges_{place}",)
                    shapes[f"first_{place}"] = (f"segments_{place}",)
                    shapes[f"segment_{place}"] = (f"edges_{place}",)
                if self.edge_dim:
                    shapes[f"edges_{place}"] = table if self.single else (f"edges_{place}",)
        for number in range(len(self.readouts)):
            shapes[f"pooled_{number}"] = ("graphs", f"most_{number}")
        return shapes

    @staticmethod
    def dtype(name: str) -> torch.dtype:
        """Returns the dtype of an input: float32 for features, int64 for indices, as programs need them."""
        return torch.float32 if name == "edge_attr" or name.startswith("x_") else torch.int64

    def to_json(self) -> str:
        """Returns the input format as JSON, with a name and a version."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION} | asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Returns the input format that :meth:`to_json` wrote.

        Raises:
            ModelFileError: The text is not JSON, or of another format or version; or a field is missing, unknown, or
                contradicts others.
        """
        try:
            came = json.loads(text)
            version = (came.pop("format", None), came.pop("format_version", None)) if isinstance(came, dict) else None
            _expect("format", (FORMAT, FORMAT_VERSION), version)
            if came.keys() != {field.name for field in fields(cls)}:
                raise ValueError(f"format: expected the fields of version {FORMAT_VERSION}, got {_shown(sorted(came))}")
            for name, (holds, expected) in RULES.items():
                if not holds(came[name]):
                    raise ValueError(f"{name}: expected {expected}, got {_shown(came[name])}")
            vision = VisionBrain(**came["vision"])
            generations = []
            # One by one, since a few bytes of settings may ask for hundreds.
            pairs = zip_longest(_generations(vision, came["max_size"]), came["generations"])
            for number, (ours, theirs) in enumerate(pairs):
                _expect(f"generations[{number}]", None if ours is None else asdict(ours), theirs)
                generations.append(ours)
            choices = [_readouts(vision, method, generations) for method in READOUTS]
            readouts = next((one for one in choices if list(map(asdict, one)) == came["readouts"]), choices[0])
            made = cls._of(vision, came["classes"], generations, readouts, came["max_size"])
            for name, value in asdict(made).items():
                _expect(name, value, came[name])
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelFileError(str(error)) from error
        return made


def _expect(name: str, expected: object, came: object) -> None:
    if came != expected:
        raise ValueError(f"{name}: expected {_shown(expected)}, got {_shown(came)}")


def _shown(value: object) -> str:
    return shortened(repr(value), SHOWN)


def _generations(vision: VisionBrain, max_size: int) -> Iterator[Generation]:
    vocabulary, num_features = EdgeVocabulary(vision.metadata), read_features(vision)
    edge_types: list[list[int]] = [[] for _ in vocabulary.pairs]
    for edge_type, of_pair in enumerate(vocabulary.pair_of_type):
        edge_types[of_pair].append(edge_type)
    known: dict[int, list[int]] = {}
    for number, (level, node_type) in enumerate(vision.generations(max_size)):
        sources = []
        for pair, (source, target) in vocabulary.ends_of_pair.items():
            if target == node_type and source in known:
                name, relations = vocabulary.node_types[source], vocabulary.relations[pair]
                sources.append(
                    Source(name, list(known[source]), edge_types[vocabulary.pairs.index(pair)], list(relations))
                )
        yield Generation(vocabulary.node_types[node_type], node_type, level, num_features[node_type], sources)
        known.setdefault(node_type, []).append(number)


def _readouts(vision: VisionBrain, method: str, generations: list[Generation]) -> list[Readout]:
    if method == "sinks":
        return [Readout(list(range(len(generations))), [])]
    tables = ModelReadout(vision.node_kinds, vision.node_rounds, method).tables
    kinds, read = (values.tolist() for values in tables[:2])
    return [
        Readout(
            [i for i, generation in enumerate(generations) if kinds[generation.node_type] == kind],
            [i for i, (own, yes) in enumerate(zip(kinds, read, strict=True)) if yes and own == kind],
        )
        for kind in range(tables[2])
    ]
