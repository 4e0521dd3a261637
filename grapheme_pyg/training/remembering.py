"""remember: gives a model its memory of training images when training is over."""

import torch
from torch import Tensor

from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.memory import SHOTS, Memory
from grapheme_pyg.progress_bar import progress_bar

# The most images that are remembered, and that calibrate; more would change little.
MOST = 10_000
# Without validation images, every fifth training image is for calibration.
HELD_OUT = 5
# Enough images of a class to measure how alike they are.
MANY = 2 * SHOTS[-1]
AT_ONCE = 256


def remember(
    model: ImageClassificationModel,
    training: ImageDataset | ImageSequenceDataset,
    validation: ImageDataset | ImageSequenceDataset | None,
    *,
    verbose: bool,
) -> None:
    """Gives a model a memory of training images, calibrated on validation images.

    Without validation images, it is calibrated on training images that are not remembered, which are slightly more
    familiar to the model than unseen images.

    Args:
        model: The model, in evaluation mode; changed in place.
        training: The images that the model was trained on.
        validation: Other images of the same classes; None if there are none.
        verbose: Whether to show a progress bar in a terminal.
    """
    positions = _evenly(len(training))
    apart = torch.zeros(len(positions), dtype=torch.bool)
    if validation is None and len(positions) > HELD_OUT:
        apart[HELD_OUT - 1 :: HELD_OUT] = True
    pooled, labels, found = _pool(model, training, positions[~apart], verbose=verbose)
    if len(labels) == 0:  # none of the files can be read any more
        return
    memory = Memory.of(pooled, labels, found, len(training))
    # If there are few images of each of many classes, whole classes are needed to measure how alike their images are.
    if len(training) > len(positions) and len(labels) < MANY * len(labels.unique()):
        memory.measure(*_pool(model, training, _whole(training.labels), verbose=verbose)[:2])
    if validation is None:
        known = _pool(model, training, positions[apart], verbose=verbose)[0]
    else:
        known = _pool(model, validation, _evenly(len(validation)), verbose=verbose)[0]
    if len(known):
        memory.calibrate(known)
    model.classifier.memory = memory


def _evenly(count: int) -> Tensor:
    """Returns evenly spaced positions in a set, ``[min(count, MOST)]`` int64."""
    return torch.linspace(0, count - 1, min(count, MOST), dtype=torch.float64).long()


def _whole(labels: Tensor) -> Tensor:
    """Returns the positions of up to MANY images of each of some classes, ``[at most MOST]`` int64."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    sizes = sizes[sizes > 0]
    rank = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    kept = order[rank < MANY]
    number = sizes.clamp(max=MANY)
    chosen = torch.zeros(len(sizes), dtype=torch.bool)
    chosen[torch.linspace(0, len(sizes) - 1, min(len(sizes), MOST // MANY)).long()] = True
    return kept[chosen.repeat_interleave(number)].sort().values


def _pool(
    model: ImageClassificationModel, dataset: ImageDataset | ImageSequenceDataset, positions: Tensor, *, verbose: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns pooled states, labels and positions of the images, without unreadable ones that are to be skipped."""
    device = model.classifier.templates.device
    pooled = [torch.zeros(0, model.classifier.pooled_channels, device=device)]
    kept = [torch.zeros(0, dtype=torch.int64)]
    with progress_bar(len(positions), "images", verbose=verbose) as bar:
        for some in positions.split(AT_ONCE):
            images, found = dataset.readable(some)
            if len(found):
                pooled.append(model.pool_images(images, AT_ONCE).to(torch.float32))
                kept.append(found)
            bar.update(len(some))
    places = torch.cat(kept)
    return torch.cat(pooled), dataset.labels[places].to(device), places.to(device)
