"""InputFormat: what an exported model reads, in words that JSON has."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from grapheme_pyg.checks import as_int
from grapheme_pyg.model import ImageClassificationModel

FORMAT, FORMAT_VERSION = "grapheme_pyg.export", 2


@dataclass(frozen=True)
class Source:
    """Nodes of one type that a generation reads.

    Attributes:
        node_type: Its name.
        generations: The earlier generations that have nodes of that type; rows count through one after the other.
        edge_types: For each relation, in the order of the weights, its number in the field ``edge_type`` of graphs.
        relations: Their names.
    """

    node_type: str
    generations: list[int]
    edge_types: list[int]
    relations: list[str]


@dataclass(frozen=True)
class Generation:
    """Nodes of one type and level, which are computed together.

    Attributes:
        name: Of the node type.
        node_type: Its number in the field ``node_type`` of graphs.
        level: In the field ``level`` of graphs.
        num_features: How many leading columns of the field ``x`` its nodes use; 0 if none.
        sources: Whose states they read.
    """

    name: str
    node_type: int
    level: int
    num_features: int
    sources: list[Source]

    @property
    def has_own(self) -> bool:
        """Whether features of its nodes are an input; if they read nothing else, it says how many there are."""
        return self.num_features > 0 or not self.sources


@dataclass(frozen=True)
class Readout:
    """Which nodes are pooled together.

    Attributes:
        generations: Those whose nodes may be; rows count through one after the other.
        node_types: Nodes of these are, and with them all that no edge leaves.
    """

    generations: list[int]
    node_types: list[int]


@dataclass(frozen=True)
class InputFormat:
    """The tensors that an exported model reads, and what makes them; docs/export.md has the whole of it.

    Attributes:
        classes: Names, in the order of the logits.
        generations: In the order in which they are computed.
        readouts: One for each kind of node that is pooled for itself.
        edge_dim: Width of edge attributes; 0 if none are read.
        single: Whether a node has at most one neighbour of each relation.
        max_size: Images have at most so many pixels a side.
        vision: The settings of :class:`grapheme_pyg.VisionBrain` that graphs are made with.
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
        """What an exported model reads of images of up to ``max_size`` pixels a side.

        Raises:
            ValueError: ``max_size`` is not a positive integer.
        """
        max_size = as_int("max_size", max_size, 1)
        vision = model.vision
        known: dict[int, list[int]] = {}
        generations = []
        for number, (level, node_type) in enumerate(vision.generations(max_size)):
            generations.append(_generation(model, node_type, level, known))
            known.setdefault(node_type, []).append(number)
        return cls(
            classes=list(model.classes),
            generations=generations,
            readouts=_readouts(model, generations),
            edge_dim=model.dag.edge_dim,
            single=vision.finder.single_neighbours and not (vision.contours or vision.detections),
            max_size=max_size,
            vision=vision.config,
        )

    @property
    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Names and shapes of the tensors, in order; lengths that a graph decides have names.

        Their dtypes are in :meth:`dtype`.
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
        """Of an input: features are float32, numbers are int64, which is what programs gather by."""
        return torch.float32 if name == "edge_attr" or name.startswith("x_") else torch.int64

    def to_json(self) -> str:
        """As JSON, with the format's name and version."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION} | asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse of :meth:`to_json`.

        Raises:
            ValueError: It is of another format or version, lacks a field, or is no JSON.
        """
        fields = json.loads(text)
        came = (fields.pop("format", None), fields.pop("format_version", None)) if isinstance(fields, dict) else None
        if came != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"format: expected {(FORMAT, FORMAT_VERSION)}, got {came}")
        try:
            generations = [
                Generation(**(one | {"sources": [Source(**source) for source in one["sources"]]}))
                for one in fields["generations"]
            ]
            readouts = [Readout(**one) for one in fields["readouts"]]
            return cls(**(fields | {"generations": generations, "readouts": readouts}))
        except (KeyError, TypeError) as error:
            raise ValueError(f"format: expected the fields of version {FORMAT_VERSION}, got {error}") from error


def _generation(model: ImageClassificationModel, node_type: int, level: int, known: dict[int, list[int]]) -> Generation:
    vocabulary = model.dag.vocabulary
    sources = []
    for pair, (source, target) in vocabulary.ends_of_pair.items():
        if target == node_type and source in known:
            number = vocabulary.pairs.index(pair)
            edge_types = [i for i, of_pair in enumerate(vocabulary.pair_of_type) if of_pair == number]
            name, relations = vocabulary.node_types[source], vocabulary.relations[pair]
            sources.append(Source(name, list(known[source]), edge_types, list(relations)))
    name, num_features = vocabulary.node_types[node_type], model.dag.in_channels[node_type]
    return Generation(name, node_type, level, num_features, sources)


def _readouts(model: ImageClassificationModel, generations: list[Generation]) -> list[Readout]:
    if model.readout.method == "sinks":
        return [Readout(list(range(len(generations))), [])]
    kinds, read = (values.tolist() for values in model.readout.tables[:2])
    return [
        Readout(
            [i for i, generation in enumerate(generations) if kinds[generation.node_type] == kind],
            [i for i, (own, yes) in enumerate(zip(kinds, read, strict=True)) if yes and own == kind],
        )
        for kind in range(model.readout.tables[2])
    ]
