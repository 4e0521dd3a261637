"""What a model remembers when its training is over."""

import torch
from torch import Tensor

from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.memory import SHOTS, Memory

# Images that are remembered, and of which others are said to be familiar: more would say nothing else.
MOST = 10_000
# Without images for validation, each so many-th training image is for calibration.
HELD_OUT = 5
# Images of a class that are enough to measure how alike they are.
MANY = 2 * SHOTS[-1]
AT_ONCE = 256


def remember(
    model: ImageClassificationModel,
    training: ImageDataset | ImageSequenceDataset,
    validation: ImageDataset | ImageSequenceDataset | None,
) -> None:
    """Leaves a model with a memory of training images, calibrated by images for validation.

    If there are none, it is calibrated by training images that are not remembered, which are a little more familiar to
    the model than others would be.

    Args:
        model: In evaluation mode; changed in place.
        training: The images that it was trained on.
        validation: Others of the same classes, if there are any.
    """
    positions = _evenly(len(training), MOST)
    apart = torch.zeros(len(positions), dtype=torch.bool)
    if validation is None and len(positions) > HELD_OUT:
        apart[HELD_OUT - 1 :: HELD_OUT] = True
    pooled, labels, found = _pool(model, training, positions[~apart])
    if len(labels) == 0:  # not one of the files can still be read
        return
    memory = Memory.of(pooled, labels, found, len(training))
    # A few images of each of many classes say little of how alike those of one class are: some classes say it for all.
    if len(training) > len(positions) and len(labels) < MANY * len(labels.unique()):
        memory.measure(*_pool(model, training, _whole(training.labels))[:2])
    if validation is not None:
        known = _pool(model, validation, _evenly(len(validation), MOST))[0]
    else:
        known = _pool(model, training, positions[apart])[0]
    if len(known):
        memory.calibrate(known)
    model.classifier.memory = memory


def _evenly(count: int, most: int) -> Tensor:
    """Positions from the first of a set to its last, ``[min(count, most)]`` int64."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()


def _whole(labels: Tensor) -> Tensor:
    """Positions of the images of some classes, ``[at most MOST]`` int64: of each chosen one all, up to a few dozen."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    sizes = sizes[sizes > 0]
    rank = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    kept = order[rank < MANY]
    number = sizes.clamp(max=MANY)
    chosen = torch.zeros(len(sizes), dtype=torch.bool)
    chosen[_evenly(len(sizes), max(1, MOST // MANY))] = True
    return kept[chosen.repeat_interleave(number)].sort().values


def _pool(
    model: ImageClassificationModel, dataset: ImageDataset | ImageSequenceDataset, positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled states of images, labels and positions, without those that cannot be read and are to be left out."""
    device = model.classifier.templates.device
    pooled = [torch.zeros(0, model.classifier.pooled_channels, device=device)]
    kept = [torch.zeros(0, dtype=torch.int64)]
    for some in positions.split(AT_ONCE):
        images, found = dataset.readable(some)
        if len(found):
            pooled.append(model.pool_images(images, AT_ONCE).to(torch.float32))
            kept.append(found)
    places = torch.cat(kept)
    return torch.cat(pooled), dataset.labels[places].to(device), places.to(device)
