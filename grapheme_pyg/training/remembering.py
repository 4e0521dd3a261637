"""What a model remembers when its training is over."""

import torch
from torch import Tensor

from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.memory import Memory
from grapheme_pyg.progress_bar import progress_bar

# Images that are remembered, and of which others are said to be familiar: more would say nothing else.
MOST = 10_000
# Without images for validation, each so many-th training image is for calibration.
HELD_OUT = 5
AT_ONCE = 256


def remember(
    model: ImageClassificationModel,
    training: ImageDataset | ImageSequenceDataset,
    validation: ImageDataset | ImageSequenceDataset | None,
    *,
    verbose: bool,
) -> None:
    """Leaves a model with a memory of training images, calibrated by images for validation.

    If there are none, it is calibrated by training images that are not remembered, which are a little more familiar to
    the model than others would be.

    Args:
        model: In evaluation mode; changed in place.
        training: The images that it was trained on.
        validation: Others of the same classes, if there are any.
        verbose: Whether to show a progress bar, in a terminal.
    """
    positions = _evenly(len(training), MOST)
    apart = torch.zeros(len(positions), dtype=torch.bool)
    if validation is None and len(positions) > HELD_OUT:
        apart[HELD_OUT - 1 :: HELD_OUT] = True
    pooled, labels, found = _pool(model, training, positions[~apart], verbose=verbose)
    if len(labels) == 0:  # not one of the files can still be read
        return
    memory = Memory.of(pooled, labels, found, len(training))
    if validation is not None:
        known = _pool(model, validation, _evenly(len(validation), MOST), verbose=verbose)[0]
    else:
        known = _pool(model, training, positions[apart], verbose=verbose)[0]
    if len(known):
        memory.calibrate(known)
    model.classifier.memory = memory


def _evenly(count: int, most: int) -> Tensor:
    """Positions from the first of a set to its last, ``[min(count, most)]`` int64."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()


def _pool(
    model: ImageClassificationModel, dataset: ImageDataset | ImageSequenceDataset, positions: Tensor, *, verbose: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled states of images, labels and positions, without those that cannot be read and are to be left out."""
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
