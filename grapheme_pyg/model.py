"""ImageClassificationModel: the three parts, composed; saved and loaded without pickle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from grapheme_pyg.checks import as_int, as_path
from grapheme_pyg.dag import require_tensor
from grapheme_pyg.errors import GraphError
from grapheme_pyg.labels import canonical
from grapheme_pyg.nn import ClassificationBrain, DagNN
from grapheme_pyg.nn.graph_checks import check_device, to_features
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.nn.readout import Readout
from grapheme_pyg.on_images import OnImages
from grapheme_pyg.presets import PRESETS, default_widths
from grapheme_pyg.pretrained import load_model, save_model
from grapheme_pyg.vision import VisionBrain


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

    @torch.no_grad()
    def with_classes(self, classes: Any) -> Self:
        """Makes a model of other classes with this one's weights, to be trained further.

        Classes of the same name keep their templates; those of the others, and the temperature, are as of a new model.
        Remembered images are left out.

        Args:
            classes: Names, or their number, as the class takes them.

        Raises:
            ValueError: As the class.
        """
        made = type(self)(self.vision, **(self.config | {"classes": classes}))
        made.to(self.classifier.templates.device, self.classifier.templates.dtype).train(self.training)
        made.dag.load_state_dict(self.dag.state_dict())
        made.classifier.project.load_state_dict(self.classifier.project.state_dict())
        # Classes that were added from examples come last, and have no templates.
        pairs = zip(self.classes, self.classifier.templates, strict=False)
        own = {canonical(name): templates for name, templates in pairs}
        for name, templates in zip(made.classes, made.classifier.templates, strict=True):
            templates.copy_(own.get(canonical(name), templates))
        return made

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.classifier.classes

    def forward(self, batch: Data | Batch, plan: Plan | None = None) -> Tensor:
        """Logits ``[batch_size, num_classes]`` of a graph or a batch of graphs; arguments as :meth:`pool`."""
        return self.classifier.logits(self.pool(batch, plan))

    def embed(self, batch: Data | Batch, plan: Plan | None = None) -> Tensor:
        """Embeddings ``[batch_size, embedding_channels]``; arguments as :meth:`pool`."""
        return self.classifier.embed(self.pool(batch, plan))

    def pool(self, batch: Data | Batch, plan: Plan | None = None) -> Tensor:
        """Pooled states ``[batch_size, channels]`` of a graph or a batch of graphs: what embeddings are made of.

        Args:
            batch: A graph or a batch of graphs, on the device of the model.
            plan: What :meth:`plan` made of it, if it is known already; made here if None.

        Raises:
            GraphError: As :meth:`check`; or the plan does not fit the graph.
        """
        plan = self.plan(batch) if plan is None else plan
        return self._pool(_require_data(batch).get("x"), plan, batch.get("edge_attr"))

    # Looks at values, which compiled code must not wait for. PyTorch does not annotate this decorator.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def plan(self, batch: Data | Batch) -> Plan:
        """Plans the sweep over a graph or a batch of graphs, and what is pooled of it; looks at all of the graph.

        Worth keeping for graphs that come again; a process that loads graphs can make it. Graphs of the same
        configuration and image size have plans of the same form.

        Args:
            batch: A graph or a batch of graphs, on any device, where the plan will be, too.

        Raises:
            GraphError: Naming the field, the first offending node or edge, what was expected and what came.
        """
        _require_data(batch)
        # Graphs of images know whether what belongs to edges has followed them into another order.
        if hasattr(batch, "check_order"):
            batch.check_order()
        ptr, size = batch.get("ptr"), batch.get("image_size")
        num_graphs = ptr.numel() - 1 if isinstance(ptr, Tensor) else None
        # Without a size that can be read, a plan has the generations that the graph has.
        is_known = isinstance(size, Tensor) and size.dtype == torch.int64 and size.numel() > 0 and not size.is_meta
        expected = self.vision.generations(int(size.max())) if is_known else ()
        names = ("x", "edge_index", "edge_type", "node_type", "level", "batch")
        return self._plan(
            *(batch.get(name) for name in names),
            num_graphs=getattr(batch, "_num_graphs", num_graphs),
            expected=expected,
        )

    def check(self, batch: Data | Batch) -> Plan:
        """Refuses a graph, or a batch of graphs, that the model cannot compute, on the device where it lies; its plan.

        :meth:`plan` and what plans by itself find what is wrong with the graph; this looks at the features, too.

        Args:
            batch: A graph or a batch of graphs.

        Raises:
            GraphError: Naming the field, the first offending node or edge, what was expected and what came.
        """
        plan: Plan = self.plan(batch)
        self._features(batch.get("x"), plan, batch.get("edge_attr"))
        return plan

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
        plan = self._plan(x, edge_index, edge_type, node_type, level, batch, num_graphs=batch_size)
        return self.classifier.logits(self._pool(x, plan, edge_attr))

    def _plan(self, x: object, *fields: Any, **options: Any) -> Plan:
        shape = require_tensor("x", x).shape
        return self.dag.plan(*fields, num_nodes=shape[0] if shape else 0, readout=self.readout.tables, **options)

    def _pool(self, x: object, plan: Plan, edge_attr: object) -> Tensor:
        check_device("x", require_tensor("x", x), self)
        if not plan.chosen:
            raise GraphError("plan: expected one that the model's plan() made, with its readout, got one without")
        features, attributes = self._features(x, plan, edge_attr)
        states = self.dag(features, plan, attributes)
        # A part of the sweep, so that gradients find their way to it from a batch without nodes to pool, too.
        like = states[0] if states else features
        return self.classifier.pool(plan.pooled(states, like), plan.chosen)

    @torch.compiler.disable  # type: ignore[untyped-decorator] # as `plan`
    def _features(self, x: object, plan: Plan, edge_attr: object) -> tuple[Tensor, Tensor | None]:
        # They follow the weights' precision, so that a model in float64 takes graphs as they are made.
        dtype, dag = self.classifier.templates.dtype, self.dag
        features = to_features("x", "node", x, (plan.num_nodes, max(dag.in_channels)), dtype)
        if dag.edge_dim == 0:
            return features, None
        return features, to_features("edge_attr", "edge", edge_attr, (plan.num_edges, dag.edge_dim), dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``config.json`` into a folder, which is made if missing.

        Raises:
            ModelFileError: A weight is not finite, or the model is another one that :meth:`from_pretrained` refuses.
        """
        save_model(self, as_path("folder", folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Loads what :meth:`save_pretrained` wrote, in evaluation mode, on the CPU.

        Files from strangers do no harm: nothing in them is run, and nothing much larger than they are is made of them.

        Raises:
            FileNotFoundError: One of the two files is missing.
            ModelFileError: A file is damaged, of another format or of a newer version, or the two do not fit together;
                the message names the file and the field.
        """
        return load_model(cls, as_path("folder", folder))


def _require_data(batch: object) -> Data:
    if not isinstance(batch, Data):
        raise GraphError(f"batch: expected a Data or a Batch, got {type(batch).__name__}")
    return batch
