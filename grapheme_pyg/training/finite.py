"""Steps whose loss or gradient is not finite: refused before they touch a weight."""

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from grapheme_pyg.datasets.samplers import EpochBatches
from grapheme_pyg.errors import TrainingError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.settings import TrainingSettings


class FiniteSteps:
    """Watches the losses and the gradient of each step of the optimiser.

    Args:
        model: Whose batch statistics are put back if a step is skipped.
        settings: What to do then, and the largest norm of the gradient.
    """

    def __init__(self, model: ImageClassificationModel, settings: TrainingSettings) -> None:
        self._model, self._settings = model, settings
        # Of each batch since the last step: its samples' losses.
        self._losses: list[Tensor] = []
        self._statistics: list[Tensor] = []
        self.skipped = 0

    def on_batch_start(self, batch_idx: int) -> None:
        """Keeps the batch statistics as they are before a step's first batch."""
        if self._settings.nonfinite == "skip" and batch_idx % self._settings.accumulate == 0:
            self._statistics = [buffer.clone() for buffer in self._model.buffers()]

    def add(self, losses: Tensor) -> None:
        """Notes the losses of a batch, ``[batch_size]``."""
        self._losses.append(losses)

    def check(self, optimizer: Optimizer, trainer: Trainer) -> Tensor | None:
        """Clips the gradient of a step, or refuses it; looks at the device once.

        Returns:
            The losses of the step's samples, float64; None if the step is skipped, for which gradients are taken away.

        Raises:
            TrainingError: The loss or the gradient is not finite, and such steps are not to be skipped. The message
                names the step and the samples.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        batches, self._losses = self._losses, []
        losses = torch.cat(batches).double()
        # Of all processes: the gradient is that of all of them, but losses are not.
        finite = bool(torch.isfinite(norm + losses.sum()))
        if trainer.strategy.reduce_boolean_decision(finite):
            if self._settings.clip:
                clip_grads_with_norm_(parameters, self._settings.clip, norm)
            return losses
        if self._settings.nonfinite == "stop":
            value = f"loss {float(losses.mean())} and gradient of norm {float(norm)}"
            raise TrainingError(f"loss: expected it and its gradient finite, got {value} at {_place(trainer, batches)}")
        self.skipped += 1
        for parameter in parameters:
            parameter.grad = None
        with torch.no_grad():
            for buffer, before in zip(self._model.buffers(), self._statistics, strict=True):
                buffer.copy_(before)
        return None


def _place(trainer: Trainer, batches: list[Tensor]) -> str:
    """The step, and the samples whose losses are not finite, or all of them if none is to blame alone."""
    bad = [~torch.isfinite(losses) for losses in batches]
    if not any(bool(rows.any()) for rows in bad):
        bad = [torch.ones_like(rows) for rows in bad]
    place = f"step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1})"
    # Either has it, by whether the loader or the data set puts batches together.
    places = [getattr(trainer.train_dataloader, name, None) for name in ("sampler", "batch_sampler")]
    source = next((place for place in places if isinstance(place, EpochBatches)), None)
    if source is None:
        return f"{place}, in {sum(int(rows.sum()) for rows in bad)} samples"
    first = trainer.fit_loop.epoch_loop.batch_idx + 1 - len(batches)
    samples = [
        sample
        for i, rows in enumerate(bad)
        for sample, is_bad in zip(source.share_of(first + i), rows.tolist(), strict=True)
        if is_bad
    ]
    return f"{place}, samples {', '.join(str(sample) for sample in samples)}"
