"""ImageClassificationModel composes the three parts, and is saved and loaded without pickle."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from grapheme_pyg.augmentation.warp import views_of
from grapheme_pyg.calibration import best_log_temperature
from grapheme_pyg.checks import as_float, as_int, as_path
from grapheme_pyg.dag import require_tensor
from grapheme_pyg.errors import GraphError, TrainingWarning
from grapheme_pyg.home import Home
from grapheme_pyg.image_pooling import pool_examples, pool_images
from grapheme_pyg.labels import canonical, to_labels
from grapheme_pyg.nn import ClassificationBrain, DagNN
from grapheme_pyg.nn.evaluating import evaluating, evaluation_view
from grapheme_pyg.nn.graph_checks import to_features
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.nn.readout import Readout
from grapheme_pyg.prediction import Prediction, require_finite
from grapheme_pyg.presets import PRESETS, RESIDUAL, default_widths
from grapheme_pyg.pretrained import check_class_name, check_settings, load_model, save_model
from grapheme_pyg.sheets import Sheets, may_be_sheet
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_batches import check_many
from grapheme_pyg.weights import find_pretrained

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images


# Width of ``edge_attr``.
EDGE_DIM = 3


def read_features(vision: VisionBrain) -> list[int]:
    """Returns how many features the nodes of each type read: those of later rounds read none."""
    return [0 if later else width for later, width in zip(vision.node_rounds, vision.node_features, strict=True)]


class ImageClassificationModel(nn.Module):
    """Classifies images: image → graph → node states → similarities with class templates.

    Args:
        vision: Turns images into graphs; its vocabulary keys the weights.
        classes: Number of classes, or their names, as in :func:`grapheme_pyg.labels.to_names`; an empty list for a
            model that is only taught, by :meth:`add_class`.
        hidden_channels: Width of the node states for each configured level of ``vision``, fine to coarse. If None,
            defaults for its mode and channels.
        norm: ``"batch"``, ``"layer"`` or None; see :class:`grapheme_pyg.nn.DagNN`.
        residual: Whether states are added from round to round; see :class:`grapheme_pyg.nn.DagNN`. If None, only for
            grids of colour images.
        embedding_channels: Width of the embedding that is compared with the templates.
        templates_per_class: Number of templates for each class.
        template_update: ``"gradient"`` or ``"momentum"``; see :class:`grapheme_pyg.nn.ClassificationBrain`.
        dropout: Share of the pooled states that training sets to zero, in [0, 1).
        readout: Which nodes are pooled: ``"levels"`` or, with fewer weights, ``"sinks"``; see
            :class:`grapheme_pyg.nn.readout.Readout`.
        drawings: Whether the training images are single drawings in MNIST's form. :meth:`predict` then looks for
            drawings in larger pictures by :func:`grapheme_pyg.vision.find_drawings`.

    Attributes:
        home: Statistics of the images of the last training; None before it.

    Raises:
        ValueError: ``hidden_channels`` does not have one number for each level; an argument of a part is invalid; or
            the model could not be saved, because a setting is out of the range that files allow, or class names are so
            long that the settings would be much larger than the weights.

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
        residual: bool | None = None,
        embedding_channels: int = 64,
        templates_per_class: int = 4,
        template_update: str = "gradient",
        dropout: float = 0.0,
        readout: str = "levels",
        drawings: bool = False,
    ) -> None:
        super().__init__()
        num_levels = max(vision.node_levels) + 1
        if hidden_channels is None:
            hidden_channels = default_widths(vision.mode, vision.in_channels, num_levels)
        if not isinstance(hidden_channels, Sequence) or len(hidden_channels) != num_levels:
            expected = f"{num_levels} positive integers, one for each level of vision"
            raise ValueError(f"hidden_channels: expected {expected}, got {hidden_channels}")
        hidden_channels = [as_int("hidden_channels", width, 1) for width in hidden_channels]
        if residual is None:
            residual = (vision.mode, vision.in_channels) in RESIDUAL
        if not isinstance(residual, bool):
            raise ValueError(f"residual: expected True, False or None, got {residual!r}")
        if not isinstance(drawings, bool) or (drawings and not vision.relative):
            raise ValueError(f"drawings: expected False, or True with vision.relative, got {drawings!r}")
        self.vision, self.drawings = vision, drawings
        self.home: Home | None = None
        self.dag = DagNN(
            vision.metadata,
            in_channels=read_features(vision),
            hidden_channels=[hidden_channels[level] for level in vision.node_levels],
            edge_dim=EDGE_DIM if vision.edge_attr else 0,
            norm=norm,
            residual=residual,
        )
        self.readout = Readout(vision.node_kinds, vision.node_rounds, readout)
        # All node types of one kind of entity are equally wide.
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
            "residual": residual,
            "embedding_channels": self.classifier.templates.shape[2],
            "templates_per_class": self.classifier.templates.shape[1],
            "template_update": template_update,
            "dropout": self.classifier.dropout,
            "readout": readout,
            "drawings": drawings,
        }
        if not self.classifier.templates.is_meta:  # settings from a file were checked before
            check_settings(self)

    @classmethod
    def from_preset(cls, preset: str, classes: Any = 10, *, vision: dict[str, Any] | None = None, **model: Any) -> Self:
        """Makes an untrained model of one of the sizes in :mod:`grapheme_pyg.presets`.

        Args:
            preset: Name of the preset.
            classes: Number of classes, or their names.
            vision: Arguments of :class:`VisionBrain` that replace the preset's.
            model: Arguments of this class that replace the preset's.

        Raises:
            ValueError: There is no such preset, or an argument is invalid.
        """
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ValueError(f"preset: expected one of {tuple(PRESETS)}, got {preset!r}")
        chosen = PRESETS[preset]
        return cls(VisionBrain(**(chosen.vision | (vision or {}))), classes, **(chosen.model | model))

    @torch.no_grad()
    def with_classes(self, classes: Any) -> Self:
        """Makes a model of other classes with the weights of this one, to be trained further.

        Classes of the same name keep their templates. Other templates and the temperature are those of a new model.
        Remembered images are left out. A model without classes, ``with_classes([])``, keeps the memory's key space and
        is ready to be taught.

        Args:
            classes: Names of the classes, or their number.

        Raises:
            ValueError: The classes are invalid.
        """
        made = type(self)(self.vision, **(self.config | {"classes": classes}))
        made.to(self.classifier.templates.device, self.classifier.templates.dtype).train(self.training)
        made.dag.load_state_dict(self.dag.state_dict())
        if not made.classes and self.classifier.memory is not None:
            made.classifier.memory, made.home = self.classifier.memory.without_keys(), self.home
        made.classifier.project.load_state_dict(self.classifier.project.state_dict())
        # Taught classes come last and have no templates.
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
        """Returns the logits ``[batch_size, num_classes]`` of a graph or a batch of graphs; see :meth:`pool`."""
        return self.classifier.logits(self.pool(batch, plan))

    def embed(self, batch: Data | Batch, plan: Plan | None = None) -> Tensor:
        """Returns the embeddings ``[batch_size, embedding_channels]`` of a graph or a batch; see :meth:`pool`."""
        return self.classifier.embed(self.pool(batch, plan))

    def pool(self, batch: Data | Batch, plan: Plan | None = None) -> Tensor:
        """Returns the pooled states ``[batch_size, channels]`` from which embeddings are computed.

        Args:
            batch: A graph or a batch of graphs, on the device of the model.
            plan: The plan that :meth:`plan` made of it; made here if None.

        Raises:
            GraphError: The graph is invalid, or the plan does not fit it.
        """
        plan = self.plan(batch) if plan is None else plan
        return self._pool(_require_data(batch).get("x"), plan, batch.get("edge_attr"))

    # Reads values, which compiled code must not wait for. PyTorch does not annotate this decorator.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def plan(self, batch: Data | Batch) -> Plan:
        """Plans the sweep over a graph or a batch of graphs and the pooling, and checks the whole graph on the way.

        A plan can be made by the process that loads the graph, and kept for a graph that comes again. Graphs of the
        same configuration and image size have plans of the same form.

        Args:
            batch: A graph or a batch of graphs on any device; the plan is on that device, too.

        Raises:
            GraphError: A field is invalid; the message names it, the first wrong node or edge, what was expected and
                what came.
        """
        # Graphs of images notice when edge_index was reordered without edge_type and edge_attr.
        if hasattr(_require_data(batch), "check_order"):
            batch.check_order()
        ptr, size = batch.get("ptr"), batch.get("image_size")
        num_graphs = ptr.numel() - 1 if isinstance(ptr, Tensor) else None
        # If the image size is unknown, the plan has only the generations that occur in the graph.
        is_known = isinstance(size, Tensor) and size.dtype == torch.int64 and size.numel() > 0 and not size.is_meta
        expected = self.vision.generations(int(size.max())) if is_known else ()
        names = ("x", "edge_index", "edge_type", "node_type", "level", "batch")
        return self._plan(
            *(batch.get(name) for name in names),
            num_graphs=getattr(batch, "_num_graphs", num_graphs),
            expected=expected,
        )

    def check(self, batch: Data | Batch) -> Plan:
        """Plans a graph or a batch of graphs, and checks its features as well.

        Args:
            batch: A graph or a batch of graphs on any device.

        Returns:
            The plan, as :meth:`plan` makes it.

        Raises:
            GraphError: As :meth:`plan`; or a feature has the wrong shape or dtype, or is not finite.
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
        """Returns the logits of a graph that is given by its fields, as explainers and exporters need it.

        Args:
            x: ``[num_nodes, num_features]`` float32.
            edge_index: ``[2, num_edges]`` int64.
            edge_type: ``[num_edges]`` int64.
            node_type: ``[num_nodes]`` int64.
            level: ``[num_nodes]`` int64; computed if None.
            edge_attr: ``[num_edges, 3]`` float32, if the model uses it.
            batch: ``[num_nodes]`` int64, ascending, the graph of each node; None for a single graph.
            batch_size: Number of graphs; if None, taken from ``batch``, at most the number of nodes.

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
        if not plan.chosen:
            raise GraphError("plan: expected one that the model's plan() made, with its readout, got one without")
        features, attributes = self._features(x, plan, edge_attr)
        states = self.dag(features, plan, attributes)
        # A state, so that gradients reach the sweep even if the batch has no nodes to pool.
        like = states[0] if states else features
        return self.classifier.pool(plan.pooled(states, like), plan.chosen)

    @torch.compiler.disable  # type: ignore[untyped-decorator] # as `plan`
    def _features(self, x: object, plan: Plan, edge_attr: object) -> tuple[Tensor, Tensor | None]:
        # Converted to the dtype of the weights, so that a model in float64 accepts graphs as they are made.
        dtype, dag = self.classifier.templates.dtype, self.dag
        features = to_features("x", "node", x, (plan.num_nodes, max(dag.in_channels)), dtype)
        if dag.edge_dim == 0:
            return features, None
        return features, to_features("edge_attr", "edge", edge_attr, (plan.num_edges, dag.edge_dim), dtype)

    @evaluating
    def predict(
        self,
        images: "Images",
        batch_size: int = 256,
        *,
        views: int | None = None,
        reject: float | None = None,
        find_drawings: bool | None = None,
        verbose: bool = True,
    ) -> Prediction:
        """Classifies images, always in evaluation mode.

        Blank images get no label and equal probabilities of all classes, unless the training images had blank ones. An
        :class:`grapheme_pyg.errors.ImageWarning` is raised if many images differ much from those of training in size,
        level, contrast or number of nodes.

        Args:
            images: As in :meth:`VisionBrain.batch`; a sequence may read each image when it is asked for.
            batch_size: Number of images to classify at once; fewer if they have more than 2²⁰ pixels together.
            views: Number of views of each image to average over: the image and its shifts by one pixel, 1 to 9; or, if
                the model was trained on mirror images, the image, its mirror image, and the shifts of both, 1 to 18.
                If None, the image alone, or the image and its mirror image.
            reject: Share of images of known kinds that may be refused, in [0, 1). Images that are less familiar than
                that get no label. None refuses nothing.
            find_drawings: Whether to find the drawing on each image by :func:`grapheme_pyg.vision.find_drawings` and
                classify that. If None, a model of ``drawings`` does so for images of more than twice the size of its
                training images that are not in MNIST's form.
            verbose: Whether to show a progress bar in a terminal.

        Returns:
            Labels, confidences and more, in the order of the images.

        Raises:
            ValueError: There are no images, an image is invalid, or an argument is out of range.
            GraphemeError: The result is not finite, because weights are too large.
        """
        mirrored = self.home is not None and self.home.mirrored
        known = views_of(mirrored=mirrored)
        chosen = known[: 1 + mirrored if views is None else as_int("views", views, 1, len(known))]
        memory = self.classifier.memory
        if reject is not None:
            reject = as_float("reject", reject, lambda value: 0 <= value < 1, "a number in [0, 1)")
            if memory is None or not memory.is_calibrated:
                raise ValueError(
                    "reject: expected a calibrated memory, as fit leaves it; call remember, then calibrate, first"
                )
        check_many(images)
        if not self.classes:
            raise ValueError("classes: expected at least one, got none; teach the model one by add_class first")
        sheets = self._sheets(images, find_drawings)
        shown = images if sheets is None else sheets
        pooled, _, measured = pool_images(self, shown, batch_size, chosen, verbose=verbose)
        similarities, familiarity = self._compare(pooled, int(batch_size))
        probabilities = (self.classifier.temperature.float() * similarities).softmax(dim=-1).mean(dim=0)
        reasons: list[str | None] = [None] * len(measured) if sheets is None else sheets.reasons
        if self.home is not None:
            self.home.warn_if_far(measured, stacklevel=3)
            blank = (measured[:, -1] > 0) & (not self.home.blank)
            reasons = [why or ("blank" if yes else None) for why, yes in zip(reasons, blank.tolist(), strict=True)]
        probabilities[[why is not None for why in reasons]] = 1 / probabilities.shape[1]
        confidences, numbers = probabilities.max(dim=-1)
        names = self.classes
        labels = [names[i] if why is None else None for i, why in zip(numbers.tolist(), reasons, strict=True)]
        if reject is not None and memory is not None and familiarity is not None:
            is_known = (familiarity >= memory.threshold(reject)).tolist()
            labels = [label if yes else None for label, yes in zip(labels, is_known, strict=True)]
        return Prediction(
            labels,
            confidences.cpu(),
            similarities.mean(dim=0).cpu(),
            probabilities.cpu(),
            None if familiarity is None else familiarity.cpu(),
            [None] * len(labels) if sheets is None else sheets.boxes,
            reasons,
        )

    def _compare(self, views: list[Tensor], batch_size: int) -> tuple[Tensor, Tensor | None]:
        """Compares pooled states of views with templates and memory.

        Returns:
            Similarities ``[num_views, N, num_classes]``, and the familiarity ``[N]`` of the first view; None if there
            is no memory.
        """
        memory = self.classifier.memory
        found: list[Tensor] = []
        familiar: list[Tensor] = []
        for view in views:
            parts = []
            # In batches, because there may be many templates.
            for rows in view.split(batch_size):
                remembered = None if memory is None else memory.similarities(rows)
                parts.append(self.classifier.similarities(rows, remembered))
                if memory is not None and view is views[0]:
                    familiar.append(memory.familiarity(rows, remembered))
            found.append(torch.cat(parts))
        similarities = require_finite("similarities", torch.stack(found).float())
        return similarities, None if memory is None else require_finite("familiarity", torch.cat(familiar))

    def _sheets(self, images: "Images", find_drawings: bool | None) -> Sheets | None:
        """Returns images as sheets of paper if drawings are to be found on them, else None."""
        if not (find_drawings or (find_drawings is None and self.drawings)):
            return None
        # All images of an array have one size.
        shape = images.shape[1:] if isinstance(images, Tensor | np.ndarray) else ()
        if find_drawings or len(shape) < 2 or may_be_sheet(shape, self.vision):
            return Sheets(images, self.vision, always=bool(find_drawings))
        return None

    @evaluating
    def embed_images(self, images: "Images", batch_size: int = 256, *, verbose: bool = True) -> Tensor:
        """Returns the embeddings of images, ``[N, embedding_channels]`` on the CPU; see :meth:`predict`."""
        (pooled,), *_ = pool_images(self, images, batch_size, verbose=verbose)
        return require_finite("embeddings", self.classifier.embed(pooled)).cpu()

    def remember(self, images: "Images", labels: Any, batch_size: int = 256, *, verbose: bool = True) -> None:
        """Remembers training images, for refusing unfamiliar ones, :meth:`nearest` and :meth:`add_class`.

        :func:`grapheme_pyg.fit` does this at its end and calibrates the memory. If there are more than 1,000 images,
        only centres of clusters are kept: less than 1 MB for the preset ``base``, saved with the model.

        Args:
            images: As in :meth:`VisionBrain.batch`.
            labels: ``[N]``, their classes, as in :func:`grapheme_pyg.labels.to_labels`.
            batch_size: Number of images to compute at once.
            verbose: Whether to show a progress bar in a terminal.

        Raises:
            ValueError: Images or labels are invalid; or classes were taught, which would be forgotten.
        """
        if taught := self.classifier.taught:
            raise ValueError(f"classes: expected none that was taught, got {taught}; call forget first")
        pooled, found = self._pool_labelled(images, labels, batch_size, verbose=verbose)
        self.classifier.memory = Memory.of(pooled, found)

    def forget(self) -> None:
        """Forgets all remembered images, and with them all taught classes."""
        self.classifier.forget()

    @torch.no_grad()
    def calibrate(self, images: "Images", labels: Any, batch_size: int = 256, *, verbose: bool = True) -> None:
        """Sets the temperature, and the familiarity below which :meth:`predict` refuses images.

        Labels that are predicted from one view do not change.

        Args:
            images: Images that were not trained on, as in :meth:`VisionBrain.batch`.
            labels: ``[N]``, their classes, as in :func:`grapheme_pyg.labels.to_labels`.
            batch_size: Number of images to compute at once.
            verbose: Whether to show a progress bar in a terminal.

        Raises:
            ValueError: Images or labels are invalid.
        """
        pooled, found = self._pool_labelled(images, labels, batch_size, verbose=verbose)
        similarities = evaluation_view(self.classifier).similarities(pooled)
        self.classifier.log_temperature.fill_(best_log_temperature(similarities, found))
        if self.classifier.memory is not None:
            self.classifier.memory.calibrate(pooled)

    @evaluating
    def nearest(self, images: "Images", number: int = 5, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """Finds the remembered images that are most similar to some images.

        If there were many training images, those nearest to the centres of clusters stand for the others.

        Args:
            images: As in :meth:`VisionBrain.batch`.
            number: Number of remembered images to find for each image.
            batch_size: Number of images to compute at once.

        Returns:
            Cosines ``[N, number]``, descending; and positions ``[N, number]`` of the images found among the remembered
            ones, after which come the examples of taught classes in the order in which they were taught.

        Raises:
            ValueError: Fewer than ``number`` images are remembered; or as :meth:`predict`.
        """
        memory = self.classifier.require_memory()
        (pooled,), *_ = pool_images(self, images, batch_size)
        cosines, positions = memory.nearest(pooled, as_int("number", number, 1, len(memory.keys)))
        return require_finite("cosines", cosines).cpu(), positions.cpu()

    def add_class(self, name: str, images: "Images", batch_size: int = 256) -> None:
        """Teaches a new or a known class from one or more examples, without training.

        The examples also count in what :meth:`predict` refuses. Twelve warped copies of each grey example count in the
        mean of the class, by which a model of taught classes alone decides.

        Args:
            name: Name of the class.
            images: Its examples, as in :meth:`VisionBrain.batch`. A model of ``drawings`` finds drawings on them, as in
                :meth:`predict`.
            batch_size: Number of images to compute at once.

        Warns:
            TrainingWarning: Most examples look like another class.

        Raises:
            ValueError: The name has control characters or is too long, the model has no memory, or an image is invalid.
        """
        self.classifier.require_memory()
        if not self.classifier.is_taught(name):
            check_class_name("name", str(name), self)
        check_many(images)
        if (sheets := self._sheets(images, None)) is not None:
            images = list(sheets)
            if wrong := [i for i, why in enumerate(sheets.reasons) if why is not None]:
                found = sheets.reasons[wrong[0]]
                raise ValueError(f"images: expected a drawing on each, got {found} at position {wrong[0]}")
        pooled = pool_examples(self, images, batch_size)
        if (like := self.classifier.looks_like(pooled[:, 0])) not in (None, str(name)):
            expected = "expected examples unlike those of other classes"
            warnings.warn(f"{name}: {expected}, got some that look like {like!r}", TrainingWarning, stacklevel=2)
        self.classifier.add_class(name, pooled)

    def remove_class(self, name: str) -> None:
        """Forgets the examples of a taught class; a class that was trained keeps its templates.

        Raises:
            ValueError: The class was not taught.
        """
        self.classifier.remove_class(name)

    def rename_class(self, name: str, new: str) -> None:
        """Renames a class.

        Raises:
            ValueError: There is no such class; or the new name is taken, has control characters or is too long.
        """
        check_class_name("new", str(new), self)
        self.classifier.rename_class(name, new)
        self.config["classes"] = self.classes[: self.classifier.templates.shape[0]]

    @evaluating
    def pool_images(self, images: "Images", batch_size: int = 256) -> Tensor:
        """Returns the pooled states of images, ``[N, channels]``; see :meth:`predict`."""
        (pooled,), *_ = pool_images(self, images, batch_size)
        return pooled

    @evaluating
    def _pool_labelled(self, images: "Images", labels: Any, batch_size: int, *, verbose: bool) -> tuple[Tensor, Tensor]:
        """Returns the pooled states and the classes of all images but those that a sequence skips as unreadable."""
        found = to_labels(labels, classes=self.classifier.classes)
        check_many(images, count=len(found))
        if len(images) != len(found):
            raise ValueError(f"labels: expected {len(images)}, one for each image, got {len(found)}")
        skip = getattr(images, "on_error", "raise") == "skip"
        (pooled,), positions, _ = pool_images(self, images, batch_size, count=len(found), skip=skip, verbose=verbose)
        return pooled, found[positions].to(pooled.device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``config.json`` into a folder, which is created if necessary.

        A model in the folder is replaced as a whole: if writing is interrupted, either the old or the new one loads.

        Raises:
            ModelFileError: A weight is not finite, or :meth:`from_pretrained` would refuse the model.
            OSError: A file cannot be written.
        """
        save_model(self, as_path("folder", folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Loads a model from a folder, or one that comes with the package, in evaluation mode, on the CPU.

        Files from strangers are safe to load: no code in them is run, and they cannot use much more memory than their
        size.

        Args:
            folder: Folder that :meth:`save_pretrained` wrote; or, unless there is a folder of that name, one of the
                names that :func:`grapheme_pyg.list_pretrained` returns.

        Raises:
            FileNotFoundError: The folder or one of the two files is missing.
            ModelFileError: A file is damaged, of another format or of a newer version, or the two do not fit together;
                the message names the file and the field.
        """
        return load_model(cls, find_pretrained(as_path("folder", folder)))


def _require_data(batch: object) -> Data:
    if not isinstance(batch, Data):
        raise GraphError(f"batch: expected a Data or a Batch, got {type(batch).__name__}")
    return batch
