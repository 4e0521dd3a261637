import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.training.averaging import MovingAverage

# Of a few steps, after which some classes are not recognised yet.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")


class Counter(pl.LightningModule):
    """Its weight is the number of steps taken."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.0))
        self.register_buffer("index", torch.tensor([5, 1_000_001]))
        self.seen: list[tuple[float, float]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append((self.weight.item(), self.trainer.global_step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def count(callback: MovingAverage, epochs: int) -> Counter:
    module, data = Counter(), DataLoader(torch.zeros(2))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data, data)
    return module


@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_by_hand() -> None:
    # 1; then all the way to 2; then 1 / 1.5 of the way from 2 to 3, and 1 / 2 of the way from 8/3 to 4.
    module = count(MovingAverage(0.5), epochs=2)
    assert module.seen == [(2, 2), (2, 2), (pytest.approx(10 / 3), 4), (pytest.approx(10 / 3), 4)]
    assert module.weight.item() == pytest.approx(10 / 3)
    assert module.index.tolist() == [5, 1_000_001]


@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_a_share_of_less_than_one_step_averages_nothing() -> None:
    assert count(MovingAverage(0.1), epochs=2).weight.item() == 4


def test_what_remains_is_what_was_validated(digits: tuple[Split, Split]) -> None:
    few = Split(digits[0].images[:200], digits[0].labels[:200])

    def train(averaging: float) -> tuple[ImageClassificationModel, list[dict[str, float]]]:
        torch.manual_seed(0)
        model = ImageClassificationModel(VisionBrain(extend=False), hidden_channels=(6, 8, 10))
        settings = TrainingSettings(epochs=3, batch_size=25, averaging=averaging, device="cpu")
        return model, fit(model, *few, validation=few, settings=settings, verbose=False)

    (plain, expected), (averaged, metrics) = train(0.0), train(0.5)
    # Averaging watches training, and leaves it as it is.
    assert [row["train_loss"] for row in metrics] == [row["train_loss"] for row in expected]
    assert metrics[-1]["val_loss"] != expected[-1]["val_loss"]
    for model, rows in ((plain, expected), (averaged, metrics)):
        logits = model.forward(model.vision.batch(few.images))
        loss = torch.nn.functional.cross_entropy(logits, few.labels).item()
        assert abs(loss - rows[-1]["val_loss"]) < 1e-5
