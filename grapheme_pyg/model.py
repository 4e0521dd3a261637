"""ImageClassificationModel: the three parts, composed; saved and loaded without pickle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from grapheme_pyg.checks import as_int, as_path
from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.model_config import check_relations
from grapheme_pyg.model_files import WEIGHTS, load_model, save_model
from grapheme_pyg.nn import ClassificationBrain, DagNN
from grapheme_pyg.nn.graph_input import CheckedGraph, GraphFields
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.nn.readout import Readout
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.on_images import OnImages
from grapheme_pyg.presets import PRESETS, default_widths
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.weights_file import TensorKind


class ImageClassificationModel(OnImages):
    """Image → its own graph → node states → similarities with class templates.

    Args:
        vision: Turns images into graphs; its vocabulary keys the weights.
        classes: Number of classes, or their names, as :func:`grapheme_pyg.labels.to_names` takes them.
        hidden_channels: Width of node states for each configured level of ``vision``, fine to coarse; good ones for
            its mode and channels if None.
        norm: ``"batch"``, ``"layer"`` or None; see :class:`grapheme_pyg.nn.DagNN`.
        embedding_channels: Width of the embedding that templates are compared with.
        templates_per_class: Templates of each class.
        template_update: How templates learn, by ``"gradient"`` or ``"momentum"``; see
            :class:`grapheme_pyg.nn.ClassificationBrain`.
        dropout: Share of pooled states that are zeroed in training, in [0, 1).
        readout: Which nodes are pooled, those of all ``"levels"`` or just the ``"sinks"``, which takes fewer weights;
            see :class:`grapheme_pyg.nn.readout.Readout`.

    Raises:
        ValueError: ``hidden_channels`` has not one number for each level; see the parts for the rest.

    Example:
        >>> model = ImageClassificationModel(VisionBrain(), classes=["cat", "dog"]).eval()
        >>> model.predict(torch.zeros(4, 28, 28)).similarities.shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        vision: VisionBrain,
        classes: Any = 10,
        *,
        hidden_channels: Sequence[int] | None = None,
        norm: str | None = "batch",
        embedding_channels: int = 64,
        templates_per_class: int = 4,
        template_update: str = "gradient",
        dropout: float = 0.3,
        readout: str = "levels",
    ) -> None:
        super().__init__()
        num_levels = max(vision.node_levels) + 1
        if hidden_channels is None:
            hidden_channels = default_widths(vision.mode, vision.in_channels, num_levels)
        expected = f"{num_levels} positive integers, one for each level of vision"
        if not isinstance(hidden_channels, Sequence) or len(hidden_channels) != num_levels:
            raise ValueError(f"hidden_channels: expected {expected}, got {hidden_channels}")
        try:
            hidden_channels = [as_int("hidden_channels", width, 1) for width in hidden_channels]
        except ValueError as error:
            raise ValueError(f"hidden_channels: expected {expected}, got {hidden_channels}") from error
        self.vision = vision
        self.dag = DagNN(
            vision.metadata,
            # Later rounds hear of the features from the first: giving them again changed nothing on validation.
            in_channels=[
                0 if later else width for later, width in zip(vision.node_rounds, vision.node_features, strict=True)
            ],
            hidden_channels=[hidden_channels[level] for level in vision.node_levels],
            edge_dim=3 if vision.edge_attr else 0,
            norm=norm,
        )
        self.readout = Readout(vision.node_kinds, vision.node_rounds, readout)
        # Of each kind of entity the first node type is as wide as the others.
        widths = dict(zip(vision.node_kinds, self.dag.hidden_channels, strict=True))
        self.classifier = ClassificationBrain(
            list(widths.values()) if readout == "levels" else self.dag.out_channels,
            classes,
            embedding_channels=embedding_channels,
            templates_per_class=templates_per_class,
            template_update=template_update,
            dropout=dropout,
        )
        self.config: dict[str, Any] = {
            "classes": self.classes,
            "hidden_channels": hidden_channels,
            "norm": norm,
            "embedding_channels": self.classifier.templates.shape[2],
            "templates_per_class": self.classifier.templates.shape[1],
            "template_update": template_update,
            "dropout": dropout,
            "readout": readout,
        }

    @classmethod
    def from_preset(cls, preset: str, classes: Any = 10, *, vision: dict[str, Any] | None = None, **model: Any) -> Self:
        """A model of one of the sizes in :mod:`grapheme_pyg.presets`, untrained.

        Args:
            preset: Its name.
            classes: Number of classes, or their names.
            vision: Arguments of :class:`VisionBrain` that differ from the preset's.
            model: Arguments of this class that differ from the preset's.

        Raises:
            ValueError: There is no preset of that name; or as the class and :class:`VisionBrain`.
        """
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ValueError(f"preset: expected one of {tuple(PRESETS)}, got {preset!r}")
        chosen = PRESETS[preset]
        return cls(VisionBrain(**(chosen.vision | (vision or {}))), classes, **(chosen.model | model))

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.classifier.classes

    def forward(self, batch: Data | Batch) -> Tensor:
        """Logits ``[batch_size, num_classes]`` of a graph or a batch of graphs, which :meth:`check` lets pass."""
        return self.classifier.logits(self.pool(batch))

    def embed(self, batch: Data | Batch) -> Tensor:
        """Embeddings ``[batch_size, embedding_channels]`` of a graph or a batch of graphs."""
        return self.classifier.embed(self.pool(batch))

    def pool(self, batch: Data | Batch) -> Tensor:
        """Pooled states ``[batch_size, channels]`` of a graph or a batch of graphs: what embeddings are made of."""
        return self._pool(GraphFields.of(batch))

    def check(self, batch: Data | Batch) -> None:
        """Refuses a graph, or a batch of graphs, that the model cannot compute, on the device where it lies.

        :meth:`forward`, :meth:`embed` and :meth:`pool` check by themselves; this is for graphs from elsewhere, before
        they are moved to another device.

        Args:
            batch: A graph or a batch of graphs.

        Raises:
            GraphError: Naming the field, the first offending node or edge, what was expected and what came.
        """
        self._checked(GraphFields.of(batch))

    def _checked(self, fields: GraphFields) -> CheckedGraph:
        # Features follow the weights' precision, so that a model in float64 takes graphs as they are made.
        return self.dag.input.check(fields, self.classifier.templates.dtype, convert=True)

    def forward_graph(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_type: Tensor,
        node_type: Tensor | None = None,
        level: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        """Logits from the fields of a graph, for those who have no ``Data``: explainers, exporters.

        Args:
            x: ``[num_nodes, num_features]`` float32.
            edge_index: ``[2, num_edges]`` int64.
            edge_type: ``[num_edges]`` int64.
            node_type: ``[num_nodes]`` int64.
            level: ``[num_nodes]`` int64; computed if None.
            edge_attr: ``[num_edges, 3]`` float32, if the model was made for it.
            batch: ``[num_nodes]`` int64, ascending, the graph of each node; all one graph if None.
            batch_size: Number of graphs; taken from ``batch`` if None, as many as nodes at most.

        Returns:
            ``[batch_size, num_classes]``.

        Raises:
            GraphError: As :meth:`check`.
        """
        fields = GraphFields(x, edge_index, edge_type, node_type, level, edge_attr, batch, batch_size)
        return self.classifier.logits(self._pool(fields))

    def _pool(self, fields: GraphFields) -> Tensor:
        graph = self._checked(fields)
        nodes = self.readout(graph.edge_index, graph.node_type, graph.x.shape[0])
        edges = graph.edge_index, graph.edge_type
        states = self.dag(graph.x, *edges, graph.node_type, graph.level, graph.edge_attr, nodes, checked=True)
        index = [torch.zeros_like(some) if graph.batch is None else graph.batch[some] for some in nodes]
        return self.classifier.pool(states, index, graph.num_graphs)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``config.json`` into a folder, which is made if missing.

        Raises:
            ModelFileError: A weight is not finite, or the model is another one that :meth:`from_pretrained` refuses.
        """
        if len(dtypes := {parameter.dtype for parameter in self.parameters()}) > 1:
            raise ModelFileError(f"model: expected parameters of one dtype, got {sorted(map(str, dtypes))}")
        save_model(
            as_path("folder", folder),
            {key: value for key, value in self.state_dict().items() if isinstance(value, Tensor)},
            {
                "vision": self.vision.config,
                "model": self.config,
                "memory": self._describe_memory(),
                # What each row of a weight is for; loading matches by these names.
                "relations": self.dag.get_extra_state(),
            },
        )

    def _describe_memory(self) -> dict[str, Any] | None:
        if self.classifier.memory is None:
            return None
        return {"num_keys": len(self.classifier.memory.keys), "added_classes": self.classifier.added_classes}

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Loads what :meth:`save_pretrained` wrote, in evaluation mode, on the CPU.

        Files from strangers do no harm: nothing in them is run, and nothing larger than they are is made of them.

        Raises:
            FileNotFoundError: One of the two files is missing.
            ModelFileError: A file is damaged, of another format or of a newer version, or the two do not fit together;
                the message names the file and the field.
        """
        model, tensors, config = load_model(as_path("folder", folder), cls._of_config)
        try:
            model.load_state_dict(tensors | {"dag._extra_state": config["relations"]}, assign=True)
            if model.classifier.memory is not None:
                model.classifier.memory.check()
        except ValueError as error:
            raise ModelFileError(f"{Path(folder) / WEIGHTS}: {error}") from error
        return model.eval()

    @classmethod
    def _of_config(cls, config: dict[str, Any], kinds: Mapping[str, TensorKind]) -> Self:
        """The model of a checked config, whose weights have shapes but no values yet."""
        vision = VisionBrain(**config["vision"])
        check_relations(config["relations"], EdgeVocabulary(vision.metadata).relations)
        with torch.device("meta"):
            model = cls(vision, **config["model"])
            if "classifier.templates" in kinds and kinds["classifier.templates"].dtype.is_floating_point:
                model.to(kinds["classifier.templates"].dtype)
            if config["memory"] is not None:
                added = config["memory"]["added_classes"]
                num_keys = config["memory"]["num_keys"]
                model.classifier.memory = Memory(model.classifier.pooled_channels, num_keys, len(added))
                model.classifier.classes = [*model.classes, *added]
        # What it holds is not among the weights.
        model.readout = Readout(vision.node_kinds, vision.node_rounds, model.readout.method)
        return model
