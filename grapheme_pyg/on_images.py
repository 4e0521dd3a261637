"""What a trained model does with images: says what they are, compares them, remembers them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from grapheme_pyg.augmentation import VIEWS, shifted
from grapheme_pyg.calibration import best_log_temperature
from grapheme_pyg.dag import check_range
from grapheme_pyg.nn import ClassificationBrain
from grapheme_pyg.nn.evaluating import evaluating
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.prediction import Prediction
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.pixels import to_pixel_batch

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images


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
            images: As :meth:`VisionBrain.batch` takes them.
            batch_size: How many images to classify at once.
            views: Over how many views of each image to average, 1 to 9: the image, and the image shifted by one pixel.
            reject: Which share of images of a known kind may be refused, in [0, 1). Images that are less familiar
                than that get no label. Asks for :meth:`remember` and :meth:`calibrate` before. None refuses nothing.

        Returns:
            Labels, confidences and more, in the order of the images.

        Raises:
            ValueError: There are no images, or one is not as above; or an argument is out of its range.
        """
        if not isinstance(views, int) or not 1 <= views <= len(VIEWS):
            raise ValueError(f"views: expected an integer in 1…{len(VIEWS)}, got {views!r}")
        memory = self.classifier.memory
        if reject is not None:
            if not 0 <= reject < 1:
                raise ValueError(f"reject: expected a number in [0, 1), got {reject!r}")
            if memory is None or bool(memory.quantiles.isnan().any()):
                raise ValueError("reject: expected a calibrated memory; call remember, then calibrate, first")
        pooled = [self._pool_images(images, batch_size, view) for view in VIEWS[:views]]
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
        return self.classifier.embed(self._pool_images(images, batch_size)).cpu()

    @evaluating
    def remember(self, images: "Images", labels: Tensor, batch_size: int = 256) -> None:
        """Remembers training images, for :meth:`nearest`, :meth:`add_class` and to refuse what is unlike them.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            labels: ``[N]`` int64, their classes.
            batch_size: How many images to look at at once.

        The memory is saved with the model: two bytes for each image and each pooled channel, which for the preset
        ``base`` and all of MNIST is 42 MB.

        Raises:
            ValueError: Images or labels are not as above, or a class was added, whose examples would be forgotten.
        """
        if added := self.classifier.added_classes:
            raise ValueError(f"classes: expected none added from examples, got {added}; call forget first")
        self._check_labels(labels, images)
        pooled = self._pool_images(images, batch_size)
        self.classifier.memory = Memory.of(pooled, labels.to(pooled.device))

    def forget(self) -> None:
        """Forgets what is remembered of images, and with it the classes that were added from examples."""
        self.classifier.forget()

    @evaluating
    def calibrate(self, images: "Images", labels: Tensor, batch_size: int = 256) -> None:
        """Sets the temperature, and what :meth:`predict` refuses, by images that were not trained on.

        Labels that are predicted from one view stay the same.

        Args:
            images: As :meth:`VisionBrain.batch` takes them.
            labels: ``[N]`` int64, their classes.
            batch_size: How many images to look at at once.

        Raises:
            ValueError: Images or labels are not as above.
        """
        self._check_labels(labels, images)
        pooled = self._pool_images(images, batch_size)
        similarities = self.classifier.similarities(pooled)
        self.classifier.log_temperature.fill_(best_log_temperature(similarities, labels.to(similarities.device)))
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
        if memory is None or not 1 <= number <= stored:
            raise ValueError(f"number: expected one in 1…{stored}, the number of remembered images, got {number}")
        cosines, positions = memory.nearest(self._pool_images(images, batch_size), number)
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
        self.classifier.add_class(name, self._pool_images(images, batch_size))

    def _pool_images(self, images: "Images", batch_size: int, view: tuple[int, int] = (0, 0)) -> Tensor:
        """Pooled states of images, ``[N, channels]``."""
        if not hasattr(images, "__getitem__"):  # a single PIL image, a generator, None
            expected = "a tensor, a NumPy array or a sequence of images"
            raise ValueError(f"images: expected {expected}, got {type(images).__name__}")
        if len(images) == 0:
            raise ValueError("images: expected at least one image, got none")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected a positive integer, got {batch_size}")
        device = self.classifier.templates.device
        pooled = []
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            if view != (0, 0):
                runs = [shifted(run, *view) for run in to_pixel_batch(part, self.vision.in_channels)]
                part = runs[0] if len(runs) == 1 else [image for run in runs for image in run]
            pooled.append(self.pool(self.vision.batch(part).to(device)))
        return torch.cat(pooled)

    def _check_labels(self, labels: Tensor, images: "Images") -> None:
        number, num_classes = len(images), self.classifier.num_classes
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (number,):
            came = f"{labels.dtype} of shape {list(labels.shape)}" if isinstance(labels, Tensor) else repr(labels)
            raise ValueError(f"labels: expected torch.int64 of shape [{number}], one for each image, got {came}")
        check_range("labels", "image", labels, num_classes, ValueError)
