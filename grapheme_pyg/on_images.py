"""What a trained model does with images: says what they are, compares them, remembers them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from grapheme_pyg.augmentation import VIEWS, shifted
from grapheme_pyg.calibration import best_log_temperature
from grapheme_pyg.checks import as_float, as_int
from grapheme_pyg.datasets.samplers import BudgetBatchSampler
from grapheme_pyg.labels import to_labels
from grapheme_pyg.nn import ClassificationBrain
from grapheme_pyg.nn.evaluating import evaluating
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.prediction import Prediction
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_batches import SEVERAL, check_many, in_batches, warn_if_blank
from grapheme_pyg.vision.image_graph import to_graphs

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

# Nodes that are computed together, unless one graph alone has more.
NODES_AT_ONCE = 2**20
NO_VIEW = ((0, 0),)


class OnImages(nn.Module, ABC):
    """The part of :class:`grapheme_pyg.ImageClassificationModel` that takes images, not graphs.

    Attributes:
        vision: Turns images into graphs.
        classifier: Compares pooled states with templates and with what is remembered.
    """

    vision: VisionBrain
    classifier: ClassificationBrain

    @abstractmethod
    def pool(self, batch: Data | Batch) -> Tensor:
        """Pooled states ``[batch_size, channels]`` of graphs."""

    @evaluating
    def predict(
        self, images: "Images", batch_size: int = 256, *, views: int = 1, reject: float | None = None
    ) -> Prediction:
        """Classifies images, in evaluation mode, whatever mode the model is in.

        Args:
            images: As :meth:`VisionBrain.batch` takes them; a sequence may read them when they are asked for.
            batch_size: How many images to classify at once; fewer where they have more than 2²⁰ pixels together.
            views: Over how many views of each image to average, 1 to 9: the image, and the image shifted by one pixel.
            reject: Which share of images of a known kind may be refused, in [0, 1). Images that are less familiar
                than that get no label. Asks for :meth:`remember` and :meth:`calibrate` before. None refuses nothing.

        Returns:
            Labels, confidences and more, in the order of the images.

        Raises:
            ValueError: There are no images, or one is not as above; or an argument is out of its range.
        """
        views = as_int("views", views, 1, len(VIEWS))
        memory = self.classifier.memory
        if reject is not None:
            reject = as_float("reject", reject, lambda value: 0 <= value < 1, "a number in [0, 1)")
            if memory is None or bool(memory.quantiles.isnan().any()):
                raise ValueError("reject: expected a calibrated memory; call remember, then calibrate, first")
        pooled, _ = self._pool_images(images, batch_size, VIEWS[:views])
        similarities = torch.stack([self.classifier.similarities(view) for view in pooled]).float()
        temperature = self.classifier.log_temperature.exp().float()
        probabilities = (temperature * similarities).softmax(dim=-1).mean(dim=0)
        confidences, classes = probabilities.max(dim=-1)
        labels: list[str | None] = [self.classifier.classes[i] for i in classes.tolist()]
        familiarity = None if memory is None else memory.familiarity(pooled[0])
        if reject is not None and memory is not None and familiarity is not None:
            known = (familiarity >= memory.threshold(reject)).tolist()
            labels = [label if yes else None for label, yes in zip(labels, known, strict=True)]
        return Prediction(
            labels,
            confidences.cpu(),
            similarities.mean(dim=0).cpu(),
            probabilities.cpu(),
            None if familiarity is None else familiarity.cpu(),
        )

    @evaluating
    def embed_images(self, images: "Images", batch_size: int = 256) -> Tensor:
        """Embeddings of images, ``[N, embedding_channels]`` on the CPU; ``images`` and errors as :meth:`predict`."""
        (pooled,), _ = self._pool_images(images, batch_size)
        return self.classifier.embed(pooled).cpu()

    @evaluating
    def remember(self, images: "Images", labels: Any, batch_size: int = 256) -> None:
        """Remembers training images, for :meth:`nearest`, :meth:`add_class` and to refuse what is unlike them.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            labels: ``[N]``, their classes, as :func:`grapheme_pyg.labels.to_labels` takes them.
            batch_size: How many images to look at at once.

        The memory is saved with the model: two bytes for each image and each pooled channel, which for the preset
        ``base`` and all of MNIST is 42 MB.

        Raises:
            ValueError: Images or labels are not as above, or a class was added, whose examples would be forgotten.
        """
        if added := self.classifier.added_classes:
            raise ValueError(f"classes: expected none added from examples, got {added}; call forget first")
        pooled, found = self._pool_labelled(images, labels, batch_size)
        self.classifier.memory = Memory.of(pooled, found)

    def forget(self) -> None:
        """Forgets what is remembered of images, and with it the classes that were added from examples."""
        self.classifier.forget()

    @evaluating
    def calibrate(self, images: "Images", labels: Any, batch_size: int = 256) -> None:
        """Sets the temperature, and what :meth:`predict` refuses, by images that were not trained on.

        Labels that are predicted from one view stay the same.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            labels: ``[N]``, their classes, as :func:`grapheme_pyg.labels.to_labels` takes them.
            batch_size: How many images to look at at once.

        Raises:
            ValueError: Images or labels are not as above.
        """
        pooled, found = self._pool_labelled(images, labels, batch_size)
        similarities = self.classifier.similarities(pooled)
        self.classifier.log_temperature.fill_(best_log_temperature(similarities, found))
        if self.classifier.memory is not None:
            self.classifier.memory.calibrate(pooled)

    @evaluating
    def nearest(self, images: "Images", number: int = 5, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """The remembered images that are most similar to images.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            number: How many for each.
            batch_size: How many images to look at at once.

        Returns:
            Cosines ``[N, number]``, falling, and the positions of those images among the remembered ones (examples of
            added classes come after them), of the same shape.

        Raises:
            ValueError: Nothing is remembered, or less than ``number``; or as :meth:`predict`.
        """
        memory = self.classifier.memory
        stored = 0 if memory is None else len(memory.keys)
        if memory is None:
            raise ValueError("memory: expected remembered images, got none; call remember first")
        (pooled,), _ = self._pool_images(images, batch_size)
        cosines, positions = memory.nearest(pooled, as_int("number", number, 1, stored))
        return cosines.cpu(), positions.cpu()

    @evaluating
    def add_class(self, name: str, images: "Images", batch_size: int = 256) -> None:
        """Adds a class from a few examples, without training; asks for :meth:`remember` before.

        Args:
            name: Of the new class.
            images: Its examples, as :meth:`VisionBrain.batch` takes them.
            batch_size: How many images to look at at once.

        Raises:
            ValueError: The name is taken, nothing is remembered, or an image is not as above.
        """
        self.classifier.check_new_class(name)
        (pooled,), _ = self._pool_images(images, batch_size)
        self.classifier.add_class(name, pooled)

    def _pool_labelled(self, images: "Images", labels: Any, batch_size: int) -> tuple[Tensor, Tensor]:
        """Pooled states of images and their classes, without those that are to be left out if they cannot be read."""
        found = to_labels(labels, classes=self.classifier.classes)
        check_many(images, count=len(found))
        if len(images) != len(found):
            raise ValueError(f"labels: expected {len(images)}, one for each image, got {len(found)}")
        skip = getattr(images, "on_error", "raise") == "skip"
        (pooled,), positions = self._pool_images(images, batch_size, count=len(found), skip=skip)
        return pooled, found[positions].to(pooled.device)

    def _pool_images(
        self,
        images: "Images",
        batch_size: int,
        views: Sequence[tuple[int, int]] = NO_VIEW,
        *,
        count: int | None = None,
        skip: bool = False,
    ) -> tuple[list[Tensor], list[int]]:
        """Pooled states of images, ``[N, channels]`` for each view, and the positions of those that could be read."""
        check_many(images, count=count)
        if len(images) == 0:
            raise ValueError("images: expected at least one image, got none")
        batch_size = as_int("batch_size", batch_size, 1)
        device = self.classifier.templates.device
        pooled: list[list[Tensor]] = [[] for _ in views]
        positions: list[int] = []
        num_nodes: list[Tensor] = []
        for some, pixels in in_batches(
            images,
            self.vision.in_channels,
            batch_size,
            count=count,
            size=self.vision.resize,
            white=self.vision.white,
            skip=skip,
        ):
            positions += some
            for view, found in zip(views, pooled, strict=True):
                graphs = self.vision.batch(_shifted(pixels, *view))
                if view == (0, 0):
                    num_nodes.append(graphs.ptr.diff())
                found += [self.pool(part.to(device)) for part in _parts(graphs)]
        if len(positions) >= SEVERAL:  # one blank page is a blank page
            warn_if_blank(torch.cat(num_nodes), stacklevel=5)
        return [torch.cat(found) for found in pooled], positions


def _shifted(pixels: Tensor | list[Tensor], down: int, right: int) -> Tensor | list[Tensor]:
    if isinstance(pixels, Tensor):
        return shifted(pixels, down, right)
    return [shifted(image[None], down, right)[0] for image in pixels]


def _parts(graphs: Batch) -> list[Batch]:
    """A batch as it is, or in parts if it has too many nodes."""
    if graphs.num_nodes <= NODES_AT_ONCE or graphs.num_graphs == 1:
        return [graphs]
    found = to_graphs(graphs)
    return [
        Batch.from_data_list([found[i] for i in some])
        for some in BudgetBatchSampler(graphs.ptr.diff(), max_nodes=NODES_AT_ONCE)
    ]
