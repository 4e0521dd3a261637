import pytest
import torch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.training.average import MovingAverage

# Of a few steps, after which some classes are not recognised yet.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")


def averages(share: float) -> list[float]:
    """The averages after each of four steps, in which the weight is the number of the step."""
    module = torch.nn.Linear(1, 1, bias=False)
    module.register_buffer("index", torch.tensor([5, 1_000_001]))
    average, seen = MovingAverage(module, share), []
    for step in range(1, 5):
        with torch.no_grad():
            module.weight.fill_(step)
        average.update(step)
        with average.applied():
            seen.append(module.weight.item())
        assert module.weight.item() == step
    assert module.index.tolist() == [5, 1_000_001]
    average.exchange()
    assert module.weight.item() == seen[-1]
    return seen


def test_by_hand() -> None:
    # 1; all the way to 2; then 1 / 1.5 of the way from 2 to 3, and 1 / 2 of the way from 8/3 to 4.
    assert averages(0.5) == pytest.approx([1, 2, 8 / 3, 10 / 3])


@pytest.mark.parametrize("share", [0.1, 0.0])
def test_a_share_of_less_than_one_step_averages_nothing(share: float) -> None:
    assert averages(share) == [1, 2, 3, 4]


def test_what_remains_is_what_was_validated(small_digits: Split) -> None:
    few = Split(small_digits.images[:100], small_digits.labels[:100])

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
