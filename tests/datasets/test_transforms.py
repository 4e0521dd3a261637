"""Transforms of images in data sets, and chains of transforms that end in a graph."""

from functools import reduce

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import (
    GraphCache,
    ImageDataset,
    ImageGraphDataset,
    ImageSequenceDataset,
    load_image_folder,
)


class Compose:
    """Applies transforms in turn, like torchvision's class of this name."""

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, image):
        return reduce(lambda changed, transform: transform(changed), self.transforms, image)


def mirrored(image):
    return image.flip(-1)


def cropped(image):
    return image[..., : 10 + int(image.max()) % 7, :]


@pytest.fixture
def folder(images, tmp_path):
    for i, image in enumerate(images):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(image.numpy()).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    return tmp_path


def test_a_chain_from_a_pil_image_to_its_graph(images):
    picture = Image.fromarray(images[0].numpy())
    chain = Compose([lambda image: image.rotate(90), lambda image: image.convert("RGB"), VisionBrain()])
    graph, expected = chain(picture), VisionBrain()(images[0].rot90())
    assert type(graph) is type(expected)
    for key, value in expected.to_dict().items():
        assert torch.equal(graph[key], value), key


@pytest.mark.parametrize("kind", [ImageDataset, ImageSequenceDataset])
def test_of_one_image_and_of_several(kind, images):
    given = images if kind is ImageDataset else list(images)
    dataset = kind(given, [0, 1, 2, 3], transform=mirrored)
    image, label = dataset[1]
    assert torch.equal(image, images[1].flip(-1))
    assert label == 1
    for index in ([2, 0], torch.tensor([2, 0])):
        some, labels = dataset[index]
        assert torch.equal(torch.stack(some), images[[2, 0]].flip(-1))
        assert labels.tolist() == [2, 0]
    assert torch.equal(dataset.readable(torch.tensor([1]))[0][0], images[1])


def test_after_augmentation(images):
    augmented = ImageDataset(images, range(4), augment=RandomWarp(), seed=3)
    both = ImageDataset(images, range(4), augment=RandomWarp(), seed=3, transform=mirrored)
    assert torch.equal(torch.stack(both[:][0]), augmented[:][0].flip(-1))
    assert not torch.equal(augmented[:][0], images)


def test_graphs_of_transformed_images(images):
    vision = VisionBrain()
    dataset = ImageGraphDataset(ImageDataset(images, range(4), transform=cropped), vision)
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    expected = vision.batch([cropped(image) for image in images], range(4))
    assert len(batch.image_size.unique(dim=0)) > 1
    for key in ("x", "edge_index", "edge_type", "image_size", "y"):
        assert torch.equal(batch[key], expected[key]), key


def test_loaders_batch_what_a_chain_gives(images):
    dataset = ImageDataset(images, range(4), transform=Compose([mirrored, VisionBrain()]))
    graphs, labels = next(iter(DataLoader(dataset, batch_size=4)))
    assert isinstance(graphs, Batch)
    assert torch.equal(graphs.edge_index, VisionBrain().batch(images.flip(-1)).edge_index)
    assert labels.tolist() == [0, 1, 2, 3]
    tensors = ImageDataset(images, range(4), transform=lambda image: image / 255)
    batch, _ = next(iter(torch.utils.data.DataLoader(tensors, batch_size=4)))
    assert torch.equal(batch, images / 255)


def test_folders(folder, images):
    plain, changed = (load_image_folder(folder, 1, transform=transform) for transform in (None, mirrored))
    for one, other in zip(plain.images, changed.images, strict=True):
        assert torch.equal(other, one.flip(-1))
    for some in (changed.images[1:], changed.resized(28).images[1:], changed.split(0.5)[0].images):
        assert some.transform is mirrored
    model = ImageClassificationModel.from_preset("tiny", plain.classes)
    expected = model.predict([image.flip(-1) for image in plain.images]).probabilities
    assert torch.equal(model.predict(changed.images).probabilities, expected)


@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
def test_training_applies_it_in_every_epoch(folder):
    calls = []

    def counted(image):
        calls.append(1)
        return np.asarray(image[0]).astype(np.float32) / 255  # another form that a model accepts

    found = load_image_folder(folder, 1, transform=counted)
    model = ImageClassificationModel.from_preset("tiny", found.classes)
    passes = []
    for epochs in (1, 3):
        calls.clear()
        settings = TrainingSettings(epochs=epochs, device="cpu")
        fit(model, found.images, found.labels, settings=settings, verbose=False)
        passes.append(len(calls))
    assert passes[1] - passes[0] == 2 * len(found)


def test_graphs_that_are_kept_are_not_of_transformed_images(folder, images, tmp_path):
    found = load_image_folder(folder, 1, transform=mirrored)
    for dataset in (
        ImageDataset(images, range(4), transform=mirrored),
        ImageSequenceDataset(found.images, found.labels),
    ):
        with pytest.raises(ValueError, match="images: expected none that are augmented or transformed"):
            GraphCache(tmp_path / "cache", dataset, VisionBrain())
