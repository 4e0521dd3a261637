"""One model on several processes: equal at the start, taught by joint batches, still equal at the end."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from grapheme_pyg.errors import TrainingError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.processes import Processes, ProcessesOfEnvironment

# More megabytes than any model has: gradients are added up in one piece, after the whole backward pass.
ONE_PIECE = 1 << 20


class JointBatches(DDPStrategy):
    """Lightning's way to add up gradients.

    Graphs differ, and a process may have none of some type, so weights may be without a gradient on some processes:
    these must be looked for. Statistics and templates are kept equal by how they are computed and must not be
    overwritten. In one piece, gradients come after all exchanges of the backward pass, on every process alike.

    Args:
        processes: Which one this is.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__(
            cluster_environment=ProcessesOfEnvironment(processes),
            broadcast_buffers=False,
            find_unused_parameters=True,
            bucket_cap_mb=ONE_PIECE,
        )

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        # PyTorch warns who looks for weights without a gradient and finds none: here is one, which only it knows.
        model.register_parameter("without_gradient", nn.Parameter(torch.zeros(1, device=self.root_device)))
        wrapped = super()._setup_model(model)
        del model.without_gradient
        return wrapped


@contextmanager
def jointly(model: ImageClassificationModel) -> Iterator[Callback]:
    """Gives a model the weights of the writing process; within it, the callback makes it learn from joint batches."""
    for tensor in _tensors(model):
        dist.broadcast(tensor, 0)
    try:
        yield _JointLearning(model)
        check_equal(model)
    finally:
        model.dag.process_group = model.classifier.process_group = None


class _JointLearning(Callback):
    def __init__(self, model: ImageClassificationModel) -> None:
        self._model = model

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not before: process groups cannot be copied, as the average of the weights is when it is set up."""
        self._model.dag.process_group = self._model.classifier.process_group = dist.group.WORLD

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before weights are saved."""
        check_equal(self._model)


def check_equal(model: nn.Module) -> None:
    """Compares the weights and statistics of all processes, bit for bit, by a checksum.

    Raises:
        TrainingError: They differ.
    """
    checksum = 0
    for tensor in _tensors(model):
        checksum = zlib.crc32(tensor.cpu().numpy().tobytes(), checksum)
    own = torch.tensor([checksum])
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    if len({int(value) for value in every}) > 1:
        values = ", ".join(f"{int(value):08x}" for value in every)
        raise TrainingError(
            f"processes: expected equal weights on all of them, got checksums {values}; use machines of one kind with "
            "the same number of threads (OMP_NUM_THREADS) and the same versions of everything"
        )


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
