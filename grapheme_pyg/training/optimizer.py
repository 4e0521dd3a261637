"""The optimiser of a training, and the schedule of its learning rates."""

import math

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.muon import MuonAdamW
from grapheme_pyg.training.settings import SuitedSettings

# The share of the steps in which learning rates rise, and the factors of their peak with which they start and end.
RISE, START, END = 0.2, 1 / 25, 1 / 250_000
# A schedule of fewer steps would have no rise and fall.
FEWEST = 6


def make_optimizer(model: ImageClassificationModel, settings: SuitedSettings) -> MuonAdamW:
    """Makes the optimiser of all weights that learn, with weight decay on matrices only."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kernels = [parameter for parameter in model.dag.parameters() if parameter.requires_grad and parameter.dim() >= 2]
    if settings.optimizer == "adamw":
        kernels = []
    apart = {id(parameter) for parameter in kernels}
    matrices = [parameter for parameter in learning if parameter.dim() >= 2 and id(parameter) not in apart]
    others = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in learning if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    rates = {"lr": settings.lr, "kernel_lr": settings.kernel_lr}
    # On a lattice each relation is a separate place; elsewhere relations between two node types have much in common.
    shared = not model.vision.finder.single_neighbours
    optimizer = MuonAdamW(kernels, others, kernel_decay=settings.weight_decay, shared=shared, **rates)
    optimizer.make_states()
    return optimizer


def one_cycle(step: int, total_steps: int) -> float:
    """Returns a step's learning rate as a factor of its peak: one rise and one fall, both along a cosine.

    The schedule is that of Smith and Topin, "Super-convergence", 2018, with the values of
    ``torch.optim.lr_scheduler.OneCycleLR``. As a function of the step it needs no state, and a training can be given
    more steps.

    Args:
        step: The step, from 0.
        total_steps: The number of steps.
    """
    last = max(total_steps, FEWEST) - 1
    peak = RISE * (last + 1) - 1
    start, end, share = (START, 1.0, step / peak) if step <= peak else (1.0, END, (step - peak) / (last - peak))
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
