"""ImageClassificationModel: the three parts, composed; saved and loaded without pickle."""

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
from grapheme_pyg.image_pooling import pool_images
from grapheme_pyg.labels import canonical, to_labels
from grapheme_pyg.nn import ClassificationBrain, DagNN
from grapheme_pyg.nn.evaluating import evaluating, evaluation_view
from grapheme_pyg.nn.graph_checks import check_device, to_features
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.nn.readout import Readout
from grapheme_pyg.prediction import Prediction, require_finite
from grapheme_pyg.presets import PRESETS, RESIDUAL, default_widths
from grapheme_pyg.pretrained import check_settings, load_model, save_model
from grapheme_pyg.sheets import Sheets, may_be_sheet
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_batches import check_many
from grapheme_pyg.weights import find_pretrained

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images


# Width of ``edge_attr``.
EDGE_DIM = 3


def read_features(vision: VisionBrain) -> list[int]:
    """How many features the nodes of each type read: later rounds none, which changed nothing on validation."""
    return [0 if later else width for later, width in zip(vision.node_rounds, vision.node_features, strict=True)]


class ImageClassificationModel(nn.Module):
    """Image → its own graph → node states → similarities with class templates.

    Args:
        vision: Turns images into graphs; its vocabulary keys the weights.
        classes: Number of classes, or their names, as :func:`grapheme_pyg.labels.to_names` takes them; an empty list
            for a model that is only taught (:meth:`add_class`).
        hidden_channels: Width of node states for each configured level of ``vision``, fine to coarse; good ones for
            its mode and channels if None.
        norm: ``"batch"``, ``"layer"`` or None; see :class:`grapheme_pyg.nn.DagNN`.
        residual: Whether states are kept from round to round; see there. If None, in grids of colour images.
        embedding_channels: Width of the embedding that templates are compared with.
        templates_per_class: Templates of each class.
        template_update: How templates learn, by ``"gradient"`` or ``"momentum"``; see
            :class:`grapheme_pyg.nn.ClassificationBrain`.
        dropout: Share of pooled states that are zeroed in training, in [0, 1).
        readout: Which nodes are pooled, those of all ``"levels"`` or just the ``"sinks"``, which takes fewer weights;
            see :class:`grapheme_pyg.nn.readout.Readout`.
        drawings: Whether the training images are of single drawings in MNIST's form. Then :meth:`predict` looks for the
            drawing in larger pictures, as :func:`grapheme_pyg.vision.find_drawings` does.

    Attributes:
        home: What the images of the last training were like; None before.

    Raises:
        ValueError: ``hidden_channels`` has not one number for each level, or the model could not be saved: a setting is
            out of its range in files, or names of classes are so long that the settings would be much larger than the
            weights; see the parts for the rest.

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
        expected = f"{num_levels} positive integers, one for each level of vision"
        if not isinstance(hidden_channels, Sequence) or len(hidden_channels) != num_levels:
            raise ValueError(f"hidden_channels: expected {expected}, got {hidden_channels}")
        try:
            hidden_channels = [as_int("hidden_channels", width, 1) for width in hidden_channels]
        except ValueError as error:
            raise ValueError(f"hidden_channels: expected {expected}, got {hidden_channels}") from error
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
            "residual": residual,
            "embedding_channels": self.classifier.templates.shape[2],
            "templates_per_class": self.classifier.templates.shape[1],
            "template_update": template_update,
            "dropout": self.classifier.dropout,
            "readout": readout,
            "drawings": drawings,
        }
        if not self.classifier.templates.is_meta:  # as those are that are described by settings from a file
            check_settings(self)

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
        Remembered images are left out. A model without classes, ``with_classes([])``, keeps what makes keys of images:
        it is ready to be taught.

        Args:
            classes: Names, or their number, as the class takes them.

        Raises:
            ValueError: As the class.
        """
        made = type(self)(self.vision, **(self.config | {"classes": classes}))
        made.to(self.classifier.templates.device, self.classifier.templates.dtype).train(self.training)
        made.dag.load_state_dict(self.dag.state_dict())
        if not made.classes and self.classifier.memory is not None:
            made.classifier.memory, made.home = self.classifier.memory.without_keys(), self.home
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
        """Classifies images, in evaluation mode, whatever mode the model is in.

        An image with nothing on it has no label, and the same probability of all classes, unless there were such images
        in training. :class:`grapheme_pyg.errors.ImageWarning` says if many images are far from those of training, in
        size, level, contrast or number of nodes.

        Args:
            images: As :meth:`VisionBrain.batch` takes them; a sequence may read them when they are asked for.
            batch_size: How many images to classify at once; fewer where they have more than 2²⁰ pixels together.
            views: Over how many views of each image to average, 1 to 9: the image, and the image shifted by one pixel;
                or 1 to 18 of a model that was trained on mirror images: the image, its mirror image, and both shifted.
                If None, which is the default, over the image, and its mirror image of such a model.
            reject: Which share of images of a known kind may be refused, in [0, 1). Images that are less familiar
                than that get no label. None refuses nothing.
            find_drawings: Whether to classify the drawing on each image, found by
                :func:`grapheme_pyg.vision.find_drawings`, in its place. If None, a model of ``drawings`` does so with
                images of more than twice the size of its training images that do not have MNIST's form already.
            verbose: Whether to show a progress bar, in a terminal.

        Returns:
            Labels, confidences and more, in the order of the images.

        Raises:
            ValueError: There are no images, or one is not as above; or an argument is out of its range.
            GraphemeError: The model's answer is not finite, as its weights are out of proportion.
        """
        mirrored = self.home is not None and self.home.mirrored
        known = views_of(mirrored=mirrored)
        chosen = known[: 1 + mirrored if views is None else as_int("views", views, 1, len(known))]
        memory = self.classifier.memory
        if reject is not None:
            reject = as_float("reject", reject, lambda value: 0 <= value < 1, "a number in [0, 1)")
            if memory is None or bool(memory.quantiles.isnan().any()):
                raise ValueError(
                    "reject: expected a calibrated memory, as fit leaves it; call remember, then calibrate, first"
                )
        check_many(images)
        if not self.classes:
            raise ValueError("classes: expected at least one, got none; teach the model one by add_class first")
        sheets = self._sheets(images, find_drawings)
        shown = images if sheets is None else sheets
        pooled, _, measured = pool_images(self, shown, batch_size, chosen, verbose=verbose)
        # As many at once as were computed together: there may be many templates.
        parts = [view.split(int(batch_size)) for view in pooled]
        remembered = [[None if memory is None else memory.similarities(rows) for rows in view] for view in parts]
        found = [
            torch.cat([self.classifier.similarities(*both) for both in zip(view, known, strict=True)])
            for view, known in zip(parts, remembered, strict=True)
        ]
        similarities = torch.stack(found).float()
        require_finite("similarities", similarities)
        probabilities = (self.classifier.temperature.float() * similarities).softmax(dim=-1).mean(dim=0)
        reasons: list[str | None] = [None] * len(measured) if sheets is None else sheets.reasons
        if self.home is not None:
            self.home.warn_if_far(measured, stacklevel=3)
            blank = (measured[:, -1] > 0) & (not self.home.blank)
            reasons = [why or ("blank" if yes else None) for why, yes in zip(reasons, blank.tolist(), strict=True)]
        # What cannot be answered is as much of one class as of another.
        probabilities[[why is not None for why in reasons]] = 1 / probabilities.shape[1]
        confidences, classes = probabilities.max(dim=-1)
        names = self.classifier.classes
        labels = [names[i] if why is None else None for i, why in zip(classes.tolist(), reasons, strict=True)]
        familiarity = None
        if memory is not None:
            familiar = [memory.familiarity(*both) for both in zip(parts[0], remembered[0], strict=True)]
            familiarity = require_finite("familiarity", torch.cat(familiar))
        if reject is not None and memory is not None and familiarity is not None:
            known = (familiarity >= memory.threshold(reject)).tolist()
            labels = [label if yes else None for label, yes in zip(labels, known, strict=True)]
        return Prediction(
            labels,
            confidences.cpu(),
            similarities.mean(dim=0).cpu(),
            probabilities.cpu(),
            None if familiarity is None else familiarity.cpu(),
            [None] * len(labels) if sheets is None else sheets.boxes,
            reasons,
        )

    def _sheets(self, images: "Images", find_drawings: bool | None) -> Sheets | None:
        """Images as sheets of paper, if drawings are to be looked for on them; None if they are taken as they are."""
        if not (find_drawings or (find_drawings is None and self.drawings)):
            return None
        # Stacked images are of one size.
        shape = images.shape[1:] if isinstance(images, Tensor | np.ndarray) else ()
        if find_drawings or len(shape) < 2 or may_be_sheet(shape, self.vision):
            return Sheets(images, self.vision, always=bool(find_drawings))
        return None

    @evaluating
    def embed_images(self, images: "Images", batch_size: int = 256, *, verbose: bool = True) -> Tensor:
        """Embeddings of images, ``[N, embedding_channels]`` on the CPU; arguments and errors as of :meth:`predict`."""
        (pooled,), *_ = pool_images(self, images, batch_size, verbose=verbose)
        return require_finite("embeddings", self.classifier.embed(pooled)).cpu()

    def remember(self, images: "Images", labels: Any, batch_size: int = 256, *, verbose: bool = True) -> None:
        """Remembers training images, to refuse what is unlike them, for :meth:`nearest` and for :meth:`add_class`.

        :func:`grapheme_pyg.fit` does this at its end, and calibrates the memory. Of more than 1,000 images, the centres
        of clusters are kept: less than 1 MB for the preset ``base``, which is saved with the model.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            labels: ``[N]``, their classes, as :func:`grapheme_pyg.labels.to_labels` takes them.
            batch_size: How many images to look at at once.
            verbose: Whether to show a progress bar, in a terminal.

        Raises:
            ValueError: Images or labels are not as above, or classes were taught, which would be forgotten.
        """
        if taught := self.classifier.taught:
            raise ValueError(f"classes: expected none that was taught, got {taught}; call forget first")
        pooled, found = self._pool_labelled(images, labels, batch_size, verbose=verbose)
        self.classifier.memory = Memory.of(pooled, found)

    def forget(self) -> None:
        """Forgets what is remembered of images, and with it all that was taught."""
        self.classifier.forget()

    @torch.no_grad()
    def calibrate(self, images: "Images", labels: Any, batch_size: int = 256, *, verbose: bool = True) -> None:
        """Sets the temperature, and what :meth:`predict` refuses, by images that were not trained on.

        Labels that are predicted from one view stay the same.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            labels: ``[N]``, their classes, as :func:`grapheme_pyg.labels.to_labels` takes them.
            batch_size: How many images to look at at once.
            verbose: Whether to show a progress bar, in a terminal.

        Raises:
            ValueError: Images or labels are not as above.
        """
        pooled, found = self._pool_labelled(images, labels, batch_size, verbose=verbose)
        similarities = evaluation_view(self.classifier).similarities(pooled)
        self.classifier.log_temperature.fill_(best_log_temperature(similarities, found))
        if self.classifier.memory is not None:
            self.classifier.memory.calibrate(pooled)

    @evaluating
    def nearest(self, images: "Images", number: int = 5, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """Finds the remembered images that are most similar to images.

        Of many training images, those nearest to the centres of clusters stand for the others.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            number: How many for each.
            batch_size: How many images to look at at once.

        Returns:
            Cosines ``[N, number]``, falling, and the positions of those images among the remembered ones (examples of
            taught classes come after them, in the order in which they were taught), of the same shape.

        Raises:
            ValueError: Nothing is remembered, or less than ``number``; or as :meth:`predict`.
        """
        memory = self.classifier.memory
        stored = 0 if memory is None else len(memory.keys)
        if memory is None:
            raise ValueError("memory: expected one, as fit leaves it, got none; call remember first")
        (pooled,), *_ = pool_images(self, images, batch_size)
        cosines, positions = memory.nearest(pooled, as_int("number", number, 1, stored))
        return require_finite("cosines", cosines).cpu(), positions.cpu()

    def add_class(self, name: str, images: "Images", batch_size: int = 256) -> None:
        """Teaches a class by examples, from one on, without training: a new class, or more of one that is there.

        What :meth:`predict` refuses is calibrated anew by them.

        Args:
            name: Of the class.
            images: Its examples, as :meth:`VisionBrain.batch` takes them. A model of ``drawings`` looks for them on
                sheets, as in :meth:`predict`.
            batch_size: How many images to look at at once.

        Warns:
            TrainingWarning: Most of the examples look like another class.

        Raises:
            ValueError: The name has control characters or is too long, the model has no memory, or an image is not as
                above.
        """
        if self.classifier.memory is None:
            raise ValueError("memory: expected one, as fit leaves it, got none; call remember first")
        if not self.classifier.is_taught(name):
            check_settings(self, [str(name)])
        check_many(images)
        sheets = self._sheets(images, None)
        pooled = self.pool_images(images if sheets is None else sheets, batch_size)
        reasons = [] if sheets is None else sheets.reasons
        if wrong := [i for i, why in enumerate(reasons) if why is not None]:
            raise ValueError(f"images: expected a drawing on each, got {reasons[wrong[0]]} at position {wrong[0]}")
        if (like := self.classifier.looks_like(pooled)) not in (None, str(name)):
            expected = "expected examples unlike those of other classes"
            warnings.warn(f"{name}: {expected}, got some that look like {like!r}", TrainingWarning, stacklevel=2)
        self.classifier.add_class(name, pooled)

    def remove_class(self, name: str) -> None:
        """Forgets what was taught of a class; a class that was trained keeps its templates.

        Raises:
            ValueError: The class was not taught.
        """
        self.classifier.remove_class(name)

    def rename_class(self, name: str, new: str) -> None:
        """Gives a class another name.

        Raises:
            ValueError: There is no such class; or the new name is taken, has control characters or is too long.
        """
        check_settings(self, [str(new)])
        self.classifier.rename_class(name, new)
        self.config["classes"] = self.classes[: self.classifier.templates.shape[0]]

    @evaluating
    def pool_images(self, images: "Images", batch_size: int = 256) -> Tensor:
        """Pooled states of images, ``[N, channels]``."""
        (pooled,), *_ = pool_images(self, images, batch_size)
        return pooled

    @evaluating
    def _pool_labelled(self, images: "Images", labels: Any, batch_size: int, *, verbose: bool) -> tuple[Tensor, Tensor]:
        """Pooled states of images and their classes, without those that are to be left out if they cannot be read."""
        found = to_labels(labels, classes=self.classifier.classes)
        check_many(images, count=len(found))
        if len(images) != len(found):
            raise ValueError(f"labels: expected {len(images)}, one for each image, got {len(found)}")
        skip = getattr(images, "on_error", "raise") == "skip"
        (pooled,), positions, _ = pool_images(self, images, batch_size, count=len(found), skip=skip, verbose=verbose)
        return pooled, found[positions].to(pooled.device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``config.json`` into a folder, which is made if missing.

        A model that is there already is replaced as a whole: whatever happens meanwhile, one of the two can be loaded.

        Raises:
            ModelFileError: A weight is not finite, or the model is another one that :meth:`from_pretrained` refuses.
            OSError: A file cannot be written.
        """
        save_model(self, as_path("folder", folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Loads what :meth:`save_pretrained` wrote, or what comes with the package, in evaluation mode, on the CPU.

        Args:
            folder: Of a model; or one of :func:`grapheme_pyg.list_pretrained`, unless a folder of that name is there.

        Files from strangers do no harm: nothing in them is run, and nothing much larger than they are is made of them.

        Raises:
            FileNotFoundError: One of the two files is missing.
            ModelFileError: A file is damaged, of another format or of a newer version, or the two do not fit together;
                the message names the file and the field.
        """
        return load_model(cls, find_pretrained(as_path("folder", folder)))


def _require_data(batch: object) -> Data:
    if not isinstance(batch, Data):
        raise GraphError(f"batch: expected a Data or a Batch, got {type(batch).__name__}")
    return batch
