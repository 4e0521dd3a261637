"""The training loop: epochs, steps, validation, checkpoints, stopping and going on."""

import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from grapheme_pyg.augmentation import RandomDropping
from grapheme_pyg.datasets.samplers import EpochBatches
from grapheme_pyg.errors import TrainingError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.graph_checks import check_labels
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.training.average import MovingAverage
from grapheme_pyg.training.checkpoints import write_checkpoint
from grapheme_pyg.training.data import graphs_of_share, loading
from grapheme_pyg.training.interrupts import Interrupts
from grapheme_pyg.training.losses import BatchLosses
from grapheme_pyg.training.optimizer import make_optimizer, one_cycle
from grapheme_pyg.training.processes import Processes
from grapheme_pyg.training.progress import EpochMetrics, ProgressReport
from grapheme_pyg.training.settings import SuitedSettings
from grapheme_pyg.training.state import averages_of, state_of

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

Log = Callable[[EpochMetrics, int], Any]
OnEpochEnd = Callable[[ImageClassificationModel, list[EpochMetrics]], bool | None]


class TrainingLoop:
    """Trains a model in place.

    Args:
        losses_of: Computes the losses of the model, which is on the device for training.
        settings: How to train.
        batches: The mini-batches of an epoch.
        loader: Loads the mini-batches.
        validation_loader: Loads those of the validation; None for no validation.
        dropping: Drops parts of training graphs; None to keep them whole.
        processes: Which of several processes this is.
        run: A description of the training in plain values, which checkpoints hold.
        folder: Where checkpoints are written; None for no checkpoints.
        report: Reports the progress.
        log: Called after each epoch with its metrics and number; None for no call.
        on_epoch_end: Called after each epoch with the model and the metrics of all epochs; training ends if it returns
            True. None for no call.

    Attributes:
        epoch: Number of finished epochs.
        batch: Number of finished mini-batches of the current epoch.
        step: Number of steps that the optimiser has taken.
        metrics: The metrics of each finished epoch.
        recognised: ``[2, num_classes]`` int64: the number of images of each class in the last validation, and the
            number of those that were classified correctly.
    """

    def __init__(
        self,
        losses_of: BatchLosses,
        settings: SuitedSettings,
        batches: EpochBatches,
        loader: DataLoader[Any],
        validation_loader: DataLoader[Any] | None,
        *,
        dropping: RandomDropping | None,
        processes: Processes,
        run: dict[str, Any],
        folder: Path | None,
        report: ProgressReport,
        log: Log | None = None,
        on_epoch_end: OnEpochEnd | None = None,
    ) -> None:
        self.losses_of, self.model, self.settings = losses_of, losses_of.model, settings
        self.batches, self.loader, self.validation_loader = batches, loader, validation_loader
        self.dropping = dropping
        self.processes, self.run_description, self.folder = processes, run, folder
        self.report, self.log, self.on_epoch_end = report, log, on_epoch_end
        self.device = self.model.classifier.templates.device
        self.optimizer = make_optimizer(self.model, settings)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        # Clipping to the same norm would cancel the weights of the classes.
        weights = losses_of.class_weights
        self.clip = settings.clip * (1.0 if weights is None else max(1.0, float(weights.max())))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "16-mixed")
        self.average = MovingAverage(self.model, settings.averaging)
        self.shared = processes.wrap(losses_of)
        self.interrupts = Interrupts()

        self.epoch = self.batch = self.step = 0
        self.metrics: list[EpochMetrics] = []
        self.ended = False
        self.saved: int | None = None
        self.loss = torch.zeros(2, dtype=torch.float64, device=self.device)  # sum and number of this epoch's losses
        # Duration of this epoch before it was interrupted, and when it went on.
        self.seconds, self.started = 0.0, time.perf_counter()
        self.recognised = torch.zeros(2, len(self.model.classes), dtype=torch.int64)
        # Of the current step.
        self.losses: list[Tensor] = []
        self.embedded: list[tuple[Tensor, Tensor, Tensor]] = []

    def run(self) -> None:
        """Trains for the remaining epochs."""
        with self.interrupts.noted():
            while self.epoch < self.settings.epochs and not self.ended:
                self.report.start_epoch(self.epoch, self.batch)
                self.started = time.perf_counter()
                self.train_epoch()
                with self.average.applied():
                    self.end_epoch()
                self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
                self.loss.zero_()
                self.save()
                self.stop_if_told()
        self.average.exchange()

    def train_epoch(self) -> None:
        """Takes the remaining steps of an epoch."""
        settings, num_batches = self.settings, len(self.batches)
        self.model.train()
        for part in settings.freeze:  # which keeps their running statistics, too
            self.model.get_submodule(part).eval()
        self.batches.go_on(self.epoch, self.batch)
        kept: list[Tensor] = []
        if self.batch == num_batches:
            return
        with loading(self.loader) as batches:
            for loaded in batches:
                self.seed_step()
                batch, plan = self.prepare(loaded, training=True)
                if settings.nonfinite == "skip" and self.batch % settings.accumulate == 0:
                    kept = [buffer.clone() for buffer in self.model.buffers()]
                is_last = (self.batch + 1) % settings.accumulate == 0 or self.batch + 1 == num_batches
                self.compute(batch, plan, is_last=is_last)
                self.batch += 1
                self.report.batch(self.batch, self.losses[-1])
                if not is_last:
                    continue
                if self.take_step():
                    self.step += 1
                    self.average.update(self.step)
                else:
                    for buffer, before in zip(self.model.buffers(), kept, strict=False):
                        buffer.copy_(before)
                self.optimizer.zero_grad()
                self.losses, self.embedded = [], []
                since = self.step - (self.saved or 0)
                if self.batch == num_batches or (settings.checkpoint_every and since >= settings.checkpoint_every):
                    self.save()
                self.stop_if_told()

    def compute(self, batch: Batch, plan: Plan, *, is_last: bool) -> None:
        """Adds the gradients of a mini-batch; each sample has the same weight, also in a smaller last mini-batch."""
        settings, world_size = self.settings, self.processes.world_size
        with nullcontext() if is_last else self.processes.unsynced(self.shared):
            with self.autocast():
                losses, _, pooled = self.shared(batch, plan)
            # The sum over processes is wanted, but DistributedDataParallel takes the mean.
            share = losses.sum() * world_size / (settings.batch_size * settings.accumulate)
            self.scaler.scale(share).backward()
        self.losses.append(losses.detach())
        classifier = self.model.classifier
        if classifier.template_update == "momentum" and "classifier" not in settings.freeze:
            with torch.no_grad(), self.autocast():
                embedding = classifier.project(pooled)
            first = self.batch % settings.accumulate * settings.batch_size + self.processes.rank
            place = first + world_size * torch.arange(batch.num_graphs, device=self.device)
            self.embedded.append((embedding, batch.y, place))

    def take_step(self) -> bool:
        """Takes a step of the optimiser if loss and gradient are finite; returns whether it was taken.

        Raises:
            TrainingError: Loss or gradient is not finite, and the settings do not skip such steps. The message names
                the step and the samples.
        """
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        losses = torch.cat(self.losses).double()
        # All processes have the same gradient, but each has its own losses.
        wrong = self.processes.total(torch.stack([~losses.sum().isfinite(), ~norm.isfinite()]).int()).tolist()
        overflow = self.scaler.is_enabled() and not wrong[0]
        if any(wrong) and self.settings.nonfinite == "stop" and not overflow:
            value = f"loss {float(losses.mean())} and gradient of norm {float(norm)}"
            raise TrainingError(f"loss: expected a finite loss and gradient, got {value} at {self.place()}")
        if any(wrong):
            self.scaler.update()
            return False
        if self.clip:
            clip_grads_with_norm_(parameters, self.clip, norm)
        factor = one_cycle(self.step, self.steps_in(len(self.batches)) * self.settings.epochs)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.processes.average([buffer for buffer in self.model.buffers() if buffer.is_floating_point()])
        self.move_templates()
        self.loss += torch.stack([losses.sum(), losses.new_tensor(losses.numel())])
        return True

    def move_templates(self) -> None:
        """Moves templates that learn by momentum towards the step's embeddings from all processes."""
        if not self.embedded:
            return
        of_all = self.processes.gathered([torch.cat(parts) for parts in zip(*self.embedded, strict=True)])
        embedding, labels, place = (
            torch.cat([part.to(self.device) for part in parts]) for parts in zip(*of_all, strict=True)
        )
        order = place.argsort()
        self.model.classifier.update_templates(embedding[order], labels[order])

    def steps_in(self, batches: int) -> int:
        """Returns the number of optimiser steps for a number of mini-batches of an epoch."""
        return -(-batches // self.settings.accumulate)

    def seconds_so_far(self) -> float:
        """Returns the duration of this epoch so far."""
        return self.seconds + (time.perf_counter() - self.started if self.batch else 0.0)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Validates, and records and reports the metrics of the epoch."""
        trained = self.seconds + time.perf_counter() - self.started
        self.model.eval()
        metrics: EpochMetrics = {"epoch": self.epoch + 1}
        total, count = self.processes.total(self.loss.clone()).tolist()
        metrics["train_loss"] = total / max(count, 1)
        if self.validation_loader is not None:
            metrics |= self.validate()
        # AdamW's, and Muon's if it is used.
        rates = {group["orthogonal"]: group["lr"] for group in self.optimizer.param_groups}
        metrics["learning_rate"] = rates[False]
        if True in rates:
            metrics["kernel_learning_rate"] = rates[True]
        metrics["graphs_per_second"] = len(self.batches.sampler) / trained
        metrics["seconds"] = self.seconds + time.perf_counter() - self.started
        self.metrics.append(metrics)
        self.report.close()
        self.report.end_epoch(self.metrics)
        if self.log is not None and self.processes.writes:
            self.log(dict(metrics), self.epoch + 1)
        if self.on_epoch_end is not None:
            rows = [dict(row) for row in self.metrics]
            with torch.enable_grad(), torch.random.fork_rng():
                self.ended = self.processes.from_first(self.on_epoch_end(self.model, rows) is True)

    def validate(self) -> EpochMetrics:
        """Measures loss and accuracy on the validation images."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        num_classes = self.recognised.shape[1]
        counts = torch.zeros(2, num_classes, dtype=torch.int64, device=self.device)
        assert self.validation_loader is not None
        with loading(self.validation_loader) as batches:
            for loaded in batches:
                batch, plan = self.prepare(loaded)
                with self.autocast():
                    losses, similarities, _ = self.losses_of(batch, plan)
                hits = similarities.argmax(dim=-1) == batch.y
                sums += torch.stack([losses.sum().double(), hits.sum().double(), sums.new_tensor(batch.num_graphs)])
                counts += torch.stack(
                    [torch.bincount(some, minlength=num_classes) for some in (batch.y, batch.y[hits])]
                )
                self.stop_if_told()
        loss, hit, count = self.processes.total(sums).tolist()
        self.recognised = self.processes.total(counts).cpu()
        return {"val_loss": loss / max(count, 1), "val_accuracy": hit / max(count, 1)}

    def prepare(self, loaded: Any, *, training: bool = False) -> tuple[Batch, Plan]:
        """Makes the graphs of a mini-batch, plans them, and moves both to the device."""
        batch = loaded if isinstance(loaded, Batch) else graphs_of_share(self.model.vision, *loaded)
        plan = self.model.check(batch) if batch is loaded else None
        if training and self.dropping is not None and self.epoch < self.settings.robust_epochs:
            whole, batch = batch, self.dropping(batch, self.model.vision)
            plan = plan if batch is whole else None
        plan = self.model.plan(batch) if plan is None else plan
        check_labels(batch.get("y"), batch.num_graphs, self.model.classifier.num_classes)
        return batch.to(self.device), plan.to(self.device)

    def seed_step(self) -> None:
        """Seeds the random numbers of a step with the settings' seed and the numbers of the step and the process."""
        number = (self.epoch * len(self.batches) + self.batch) * self.processes.world_size + self.processes.rank
        seed = ((self.settings.seed << 31) + number) % (1 << 63)
        # torch.manual_seed would also look for other devices, which takes half a millisecond.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def autocast(self) -> torch.autocast:
        """Returns the context of the settings' precision."""
        half = HALF.get(self.settings.precision)
        return torch.autocast(self.device.type, half, enabled=half is not None)

    def place(self) -> str:
        """Names the step and the samples whose losses are not finite, or all samples if all losses are finite."""
        bad = [~torch.isfinite(losses) for losses in self.losses]
        if not any(bool(rows.any()) for rows in bad):
            bad = [torch.ones_like(rows) for rows in bad]
        shares = [self.batches.share_of(number) for number in range(self.batch - len(bad), self.batch)]
        samples = [
            str(sample)
            for rows, share in zip(bad, shares, strict=True)
            for sample, is_bad in zip(share, rows.tolist(), strict=False)  # unreadable images are left out of `rows`
            if is_bad
        ]
        return f"step {self.step + 1} (epoch {self.epoch + 1}), samples {', '.join(samples)}"

    def stop_if_told(self) -> None:
        """Ends training, in all processes after the same step, if any of them has received a signal.

        Raises:
            KeyboardInterrupt: This process received SIGINT.
            SystemExit: This process received SIGTERM, or another process received a signal.
        """
        came = self.interrupts.came
        if not bool(self.processes.total(torch.tensor(came is not None).int())):
            return
        if self.saved != self.step:
            self.save()
        self.report.close()
        if self.processes.writes:
            saved = "nothing is saved" if self.folder is None else f"step {self.saved} is saved"
            name = "another process" if came is None else came.name
            print(f"stopped by {name} after step {self.step}; {saved}", file=sys.stderr, flush=True)
        if came is signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    def save(self) -> None:
        """Writes a checkpoint; called only between steps, when no gradients are held.

        Raises:
            TrainingError: A weight is not finite; the last checkpoint from before is kept.
        """
        if self.folder is None:
            return
        weights = (*self.model.named_parameters(), *self.model.named_buffers(), *averages_of(self))
        for name, weight in weights:
            weight = weight.detach().float()  # the precision of saved models, also after training in float64
            if not bool(weight.sum().isfinite()) and not bool(weight.isfinite().all()):
                expected = f"expected finite weights after step {self.step}"
                raise TrainingError(f"{name}: {expected}, got NaN or infinity; the last checkpoint from before is kept")
        loss = self.processes.total(self.loss.clone()).tolist()
        if self.processes.writes:
            write_checkpoint(self.folder, state_of(self, loss))
        self.saved = self.step
