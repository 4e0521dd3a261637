import csv
import re
import warnings
from pathlib import Path

import pytest
import torch
from console import terminal
from torch import Tensor
from torch_geometric.loader import DataLoader

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation import RandomCutout, RandomDegradation, RandomDropping, RandomWarp
from grapheme_pyg.datasets import EpochSampler, ImageDataset, ImageGraphDataset, Split
from grapheme_pyg.errors import CheckpointError, TrainingWarning
from grapheme_pyg.training import remembering
from grapheme_pyg.training.losses import weights_of_classes
from grapheme_pyg.training.optimizer import one_cycle
from grapheme_pyg.vision.pixels import resized

# Of a few steps, after which some classes are not recognised yet.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")


Trained = tuple[ImageClassificationModel, list[dict[str, float]]]


@pytest.fixture(scope="module")
def few(small_digits: Split) -> Split:
    return Split(small_digits.images[:100], small_digits.labels[:100])


@pytest.fixture(scope="module")
def trained(few: Split) -> Trained:
    """What `train` gives with no settings of its own, for comparisons; nothing changes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return train(few)


def make(dropout: float = 0) -> ImageClassificationModel:
    torch.manual_seed(0)
    # What dropout draws depends on how samples are batched; most tests are about something else.
    return ImageClassificationModel(VisionBrain(), hidden_channels=(8, 12, 16), dropout=dropout)


def train(few: Split, **settings: object) -> tuple[ImageClassificationModel, list[dict[str, float]]]:
    model = make()
    settings = {"epochs": 2, "batch_size": 50, "device": "cpu"} | settings
    return model, fit(model, *few, settings=TrainingSettings(**settings), verbose=False)


class Interrupted(Exception):  # noqa: N818
    pass


def interrupt_after(model: ImageClassificationModel, passes: int) -> None:
    count = 0

    def interrupt(*_: object) -> None:
        nonlocal count
        count += 1
        if count > passes:
            raise Interrupted

    model.dag.register_forward_pre_hook(interrupt)


def test_three_lines(few: Split) -> None:
    model = ImageClassificationModel(VisionBrain(), classes=10)
    fit(model, *few, settings=TrainingSettings(epochs=1))
    assert len(model.predict(few.images).labels) == 100


def test_the_size_of_the_training_images_is_kept(few: Split, tmp_path: Path) -> None:
    model, _ = train(few, epochs=1)
    assert model.vision.resize == 14
    large = few.images[:5].repeat_interleave(2, 1).repeat_interleave(2, 2)
    model.save_pretrained(tmp_path)
    again = ImageClassificationModel.from_pretrained(tmp_path)
    assert again.vision == model.vision
    small = resized(large[:, None], 14)[:, 0]
    assert torch.equal(again.predict(large).similarities, model.predict(small).similarities)
    # Told otherwise, images stay as they are.
    other = ImageClassificationModel.from_preset("tiny", 10, vision={"resize": None})
    fit(other, *few, settings=TrainingSettings(epochs=1, device="cpu"), verbose=False)
    assert other.vision.resize is None


@pytest.mark.parametrize(
    ("robust", "augment", "relative", "expected"),
    [
        (None, True, True, True),
        (None, False, True, False),
        (None, True, False, False),
        (True, False, False, True),
        (False, True, True, False),
    ],
)
def test_robust_training_spoils_images_and_thins_out_graphs(
    robust: bool | None, augment: bool, relative: bool, expected: bool, few: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    degradations: set[RandomDegradation] = set()
    droppings: set[RandomDropping] = set()
    draw = RandomDegradation.draw
    monkeypatch.setattr(RandomDegradation, "draw", lambda self, *given: degradations.add(self) or draw(self, *given))
    monkeypatch.setattr(RandomDropping, "__call__", lambda self, batch, vision: droppings.add(self) or batch)
    model = ImageClassificationModel.from_preset("tiny", 10, vision={"relative": relative})
    settings = TrainingSettings(epochs=2, batch_size=50, robust=robust, augment=augment, device="cpu")
    fit(model, *few, settings=settings, verbose=False)
    # 4 steps, of 1,000 from which on there is all of it.
    for found, kind in ((degradations, RandomDegradation), (droppings, RandomDropping)):
        assert [one.share for one in found] == ([pytest.approx(kind.share * 4 / 1000)] if expected else [])


def test_the_last_epochs_are_not_robust(few: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[list[float]] = []
    draw_epoch = ImageDataset.set_epoch

    def noted(self: ImageDataset, epoch: int) -> None:
        draw_epoch(self, epoch)
        shares.append([one.share for one in self.augment if isinstance(one, RandomDegradation)])

    calls: list[int] = []
    monkeypatch.setattr(RandomDropping, "__call__", lambda self, batch, vision: calls.append(len(shares)) or batch)
    model = make()
    monkeypatch.setattr(ImageDataset, "set_epoch", noted)
    fit(model, *few, settings=TrainingSettings(epochs=3, batch_size=50, device="cpu"), verbose=False)
    # 6 steps, of 1,000 from which on there is all of it; round(0.18 · 3) = 1 epoch at the end.
    assert shares[-3:] == [[pytest.approx(RandomDegradation.share * 6 / 1000)]] * 2 + [[]]
    assert len(calls) == 4
    assert TrainingSettings(epochs=13).for_images(60_000, in_colour=False).robust_epochs == 11


def test_both_loaders_give_the_same_losses(few: Split) -> None:
    # With augmentation, shuffling, and a last batch of 40.
    by_batch, one_by_one = (train(few, loader=loader, batch_size=60)[1] for loader in ("images", "pyg"))
    assert [m["train_loss"] for m in by_batch] == pytest.approx([m["train_loss"] for m in one_by_one], abs=1e-6)


def test_workers_change_nothing(few: Split, trained: Trained) -> None:
    alone, helped = trained, train(few, num_workers=2)
    assert [m["train_loss"] for m in alone[1]] == [m["train_loss"] for m in helped[1]]
    for one, other in zip(alone[0].parameters(), helped[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_same_seed_same_weights(few: Split, trained: Trained) -> None:
    first, second, other = trained[0], train(few)[0], train(few, seed=1)[0]
    assert torch.equal(first.classifier.templates, second.classifier.templates)
    assert not torch.equal(first.classifier.templates, other.classifier.templates)


def test_accumulation_is_one_large_batch(few: Split) -> None:
    # Without batch statistics, which differ by batch: the same gradients, hence the same weights.
    def run(**settings: object) -> ImageClassificationModel:
        torch.manual_seed(0)
        model = ImageClassificationModel(VisionBrain(), hidden_channels=(8, 12, 16), norm="layer", dropout=0)
        common = {"epochs": 1, "augment": False, "precision": "64-true", "clip": 0, "device": "cpu"}
        fit(model, *few, settings=TrainingSettings(**common, **settings), verbose=False)
        return model

    small, large = run(batch_size=25, accumulate=4), run(batch_size=100)
    for one, other in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_bf16_stays_close(few: Split, trained: Trained) -> None:
    full, half = trained[1], train(few, precision="bf16-mixed")[1]
    assert half[-1]["train_loss"] == pytest.approx(full[-1]["train_loss"], rel=0.1)


def test_a_run_folder(few: Split, tmp_path: Path) -> None:
    model = make()
    settings = TrainingSettings(epochs=2, batch_size=50)
    metrics = fit(model, *few, validation=few, settings=settings, run_dir=tmp_path, verbose=False)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_accuracy"]) for row in rows] == [m["val_accuracy"] for m in metrics]
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    hits = model.predict(few.images).similarities.argmax(dim=1) == few.labels
    assert metrics[-1]["val_accuracy"] == pytest.approx(hits.double().mean().item())
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_tensorboard_in_one_line(few: Split, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tmp_path)
    fit(
        make(),
        *few,
        settings=TrainingSettings(epochs=2, device="cpu"),
        log=lambda metrics, epoch: [writer.add_scalar(name, value, epoch) for name, value in metrics.items()],
        verbose=False,
    )
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("epoch")] == [(1, 1.0), (2, 2.0)]
    assert {"train_loss", "learning_rate", "seconds"} <= set(events.Tags()["scalars"])


class TestEndOfEpochs:
    def test_early_stopping_in_two_lines(self, few: Split, tmp_path: Path) -> None:
        losses = []

        def stop(model: ImageClassificationModel, metrics: list[dict[str, float]]) -> bool:
            # The model is as it would be if training ended here, and may be used.
            batch = model.vision.batch(few.images)
            losses.append(torch.nn.functional.cross_entropy(model(batch), few.labels).item())
            assert not model.training
            return len(metrics) == 2

        settings, model = TrainingSettings(epochs=4, batch_size=50, device="cpu"), make(dropout=0.3)
        options = {"settings": settings, "validation": few, "verbose": False}
        metrics = fit(model, *few, run_dir=tmp_path, on_epoch_end=stop, **options)
        assert [row["val_loss"] for row in metrics] == pytest.approx(losses, abs=1e-6)
        assert len(metrics) == 2
        # Nothing that it does changes the training; and who resumes an ended training gets it back.
        assert [row["train_loss"] for row in metrics] == [
            row["train_loss"] for row in fit(make(dropout=0.3), *few, **options)[:2]
        ]
        again = make(dropout=0.3)
        assert fit(again, *few, run_dir=tmp_path, resume=True, **options) == metrics
        assert torch.equal(again.classifier.templates, model.classifier.templates)

    def test_only_true_ends_it(self, few: Split) -> None:
        settings = TrainingSettings(epochs=2, device="cpu")
        assert len(fit(make(), *few, settings=settings, on_epoch_end=lambda *_: None, verbose=False)) == 2


def test_more_epochs_than_planned(few: Split, tmp_path: Path) -> None:
    def go_on(epochs: int, **options: object) -> tuple[ImageClassificationModel, list[dict[str, float]]]:
        model, settings = make(), TrainingSettings(epochs=epochs, batch_size=50, device="cpu")
        return model, fit(model, *few, settings=settings, run_dir=tmp_path, verbose=False, **options)

    first = go_on(2, on_epoch_end=lambda _, metrics: len(metrics) == 1)[1]
    assert len(first) == 1
    model, metrics = go_on(4, resume=True)
    assert metrics[:1] == first
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4]
    # The rates of the 8 steps of four epochs; each epoch shows that of its last step.
    rates = [0.008 * one_cycle(step, 8) for step in (3, 5, 7)]
    assert [row["learning_rate"] for row in metrics[1:]] == pytest.approx(rates)
    assert not torch.equal(model.classifier.templates, make().classifier.templates)
    with pytest.raises(CheckpointError, match=r"settings\.epochs = 3 or fewer, got 4"):
        go_on(3, resume=True)


class TestRareClasses:
    @pytest.fixture
    def rare(self, digits: tuple[Split, Split]) -> Split:
        """Zeros and ones, 99 : 1."""
        images, labels = digits[0].images[:20000], digits[0].labels[:20000]
        zeros, ones = (images[labels == label][:count] for label, count in ((0, 990), (1, 10)))
        return Split(torch.cat([zeros, ones]), torch.tensor([0] * len(zeros) + [1] * len(ones)))

    @pytest.mark.slow
    @pytest.mark.parametrize("given", [{"class_weights": "auto"}, {"sampling": "balanced"}], ids=str)
    def test_one_in_a_hundred_is_found(self, given: dict[str, str], rare: Split, digits: tuple[Split, Split]) -> None:
        def recall(**chosen: str) -> float:
            torch.manual_seed(0)
            vision = VisionBrain(extend=False)
            model = ImageClassificationModel(vision, 2, hidden_channels=(6, 8, 10), dropout=0.3)
            settings = TrainingSettings(epochs=3, batch_size=64, device="cpu", **chosen)
            fit(model, *rare, settings=settings, verbose=False)
            ones = digits[1].images[digits[1].labels == 1][:100]
            return (model.predict(ones).similarities.argmax(dim=1) == 1).double().mean().item()

        assert recall() < 0.5
        assert recall(**given) > 0.8

    def test_weights_by_hand(self) -> None:
        labels = torch.tensor([0, 0, 0, 2])
        names = ["a", "b", "c"]
        # Four images, two classes that occur: 4 / (2 · 3) and 4 / (2 · 1).
        auto = weights_of_classes(TrainingSettings(class_weights="auto"), labels, names)
        assert auto.tolist() == pytest.approx([2 / 3, 2.0, 2.0])
        assert auto[labels].mean() == pytest.approx(1)
        given = weights_of_classes(TrainingSettings(class_weights={"c": 5}), labels, names)
        assert given.tolist() == [1, 1, 5]
        assert weights_of_classes(TrainingSettings(), labels, names) is None

    def test_names_are_those_of_classes(self, few: Split) -> None:
        with pytest.raises(ValueError, match=r"class_weights: expected names of classes, some of .*, got 'ten'"):
            fit(make(), *few, settings=TrainingSettings(class_weights={"ten": 2.0}))
        for wrong in ("balanced", {"0": 0.0}, {"0": "much"}):
            with pytest.raises(ValueError, match="class_weights"):
                TrainingSettings(class_weights=wrong)

    def test_balanced_sampling_by_hand(self) -> None:
        labels = torch.tensor([0] * 7 + [1] * 2 + [2])
        sampler = EpochSampler(range(10), 3, labels)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            order = list(sampler)
            assert torch.bincount(labels[order]).tolist() == [4, 3, 3]
            # As few repetitions as can be.
            assert len(set(order)) == 4 + 2 + 1
            assert order == list(sampler)


@pytest.mark.parametrize("classes", [("0", "7", "new"), 3])
def test_weights_of_another_model(few: Split, classes: object) -> None:
    model, _ = train(few, epochs=1)
    model.remember(few.images, few.labels)
    other = model.with_classes(classes)
    for name, weight in model.dag.state_dict().items():
        if isinstance(weight, Tensor):
            assert torch.equal(other.dag.state_dict()[name], weight)
    kept = {"0": 0, "7": 7} if isinstance(classes, tuple) else {"0": 0, "1": 1, "2": 2}
    for number, name in enumerate(other.classes):
        same = name in kept and torch.equal(other.classifier.templates[number], model.classifier.templates[kept[name]])
        assert same is (name in kept)
    assert other.classifier.memory is None
    labels = few.labels % 3
    metrics = fit(other, few.images, labels, settings=TrainingSettings(epochs=1, device="cpu"), verbose=False)
    assert metrics[0]["train_loss"] < 3
    assert torch.equal(model.dag.norm["cell0_round0"].weight, model.with_classes(2).dag.norm["cell0_round0"].weight)


def test_fp16_scales_gradients(few: Split, trained: Trained) -> None:
    full, half = trained[1], train(few, precision="16-mixed")[1]
    assert half[-1]["train_loss"] == pytest.approx(full[-1]["train_loss"], rel=0.1)


@pytest.mark.parametrize(
    ("loader", "num_workers"),
    [("images", 0), *(pytest.param(*both, marks=pytest.mark.slow) for both in (("pyg", 0), ("images", 2), ("pyg", 2)))],
)
def test_a_checkpoint_goes_on(loader: str, num_workers: int, few: Split, tmp_path: Path) -> None:
    # Interrupted by an exception in the second of three epochs.
    settings = TrainingSettings(batch_size=50, device="cpu", epochs=3, loader=loader, num_workers=num_workers)
    whole = make(dropout=0.3)
    expected = fit(whole, *few, settings=settings, verbose=False)

    model = make(dropout=0.3)
    interrupt_after(model, passes=3)
    with pytest.raises(Interrupted):
        fit(model, *few, settings=settings, run_dir=tmp_path, verbose=False)
    resumed = ImageClassificationModel(VisionBrain(), hidden_channels=(8, 12, 16), dropout=0.3)
    metrics = fit(resumed, *few, settings=settings, run_dir=tmp_path, resume=True, verbose=False)
    assert [m["epoch"] for m in metrics] == [1, 2, 3]
    assert [m["train_loss"] for m in metrics] == [m["train_loss"] for m in expected]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["train_loss"]) for row in rows] == [m["train_loss"] for m in expected]


def test_a_finished_run_resumes_to_itself(few: Split, tmp_path: Path) -> None:
    model, settings = make(), TrainingSettings(epochs=2, batch_size=50, device="cpu")
    metrics = fit(model, *few, validation=few, settings=settings, run_dir=tmp_path, verbose=False)
    again = make()
    assert fit(again, *few, settings=settings, run_dir=tmp_path, resume=True, verbose=False) == metrics
    assert torch.equal(again.classifier.templates, model.classifier.templates)


def test_rows_of_a_run_may_differ(few: Split, tmp_path: Path) -> None:
    # Two epochs with validation, then a third without: no row is lost. An epoch has two batches, validation one.
    settings = TrainingSettings(epochs=3, batch_size=50, device="cpu")
    model = make()
    interrupt_after(model, passes=2 * 3 + 1)
    with pytest.raises(Interrupted):
        fit(model, *few, validation=few, settings=settings, run_dir=tmp_path, verbose=False)
    fit(make(), *few, settings=settings, run_dir=tmp_path, resume=True, verbose=False)
    with (tmp_path / "metrics.csv").open() as file:
        assert [bool(row["val_accuracy"]) for row in csv.DictReader(file)] == [True, True, False]


def test_training_goes_on_with_a_trained_model(few: Split) -> None:
    # A trained or loaded model is in evaluation mode.
    model, _ = train(few, epochs=1)
    mean = model.dag.norm["cell0_round0"].running_mean.clone()
    fit(model, *few, settings=TrainingSettings(epochs=1, device="cpu"), verbose=False)
    assert not torch.equal(model.dag.norm["cell0_round0"].running_mean, mean)
    assert not model.training


def test_float64_is_for_training_alone(few: Split) -> None:
    model, _ = train(few, epochs=1, precision="64-true")
    assert model.classifier.templates.dtype == torch.float32
    assert len(model.predict(few.images[:5]).labels) == 5
    assert len(model.double().predict(few.images[:5]).labels) == 5


@pytest.mark.parametrize("epochs", range(1, 8))
def test_the_shortest_trainings(epochs: int, few: Split) -> None:
    images, labels = few.images[:8], few.labels[:8]
    model = ImageClassificationModel(VisionBrain())
    metrics = fit(model, images, labels, settings=TrainingSettings(epochs=epochs, batch_size=8), verbose=False)
    assert len(metrics) == epochs


def test_a_plain_loop_has_the_same_losses(few: Split) -> None:
    settings = TrainingSettings(epochs=1, batch_size=25, optimizer="adamw", clip=0, device="cpu")
    expected = train(few, epochs=1, batch_size=25, optimizer="adamw", clip=0, robust=False)[1][0]["train_loss"]

    model = make()
    dataset = ImageGraphDataset(ImageDataset(*few, augment=RandomWarp()), model.vision)
    loader = DataLoader(dataset, batch_size=25, sampler=EpochSampler(dataset))
    matrices, others = ([p for p in model.parameters() if (p.dim() > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=6, pct_start=0.2, cycle_momentum=False
    )
    losses = []
    for batch in loader:
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert sum(losses) / 4 == pytest.approx(expected, abs=1e-5)


def test_a_run_is_not_overwritten(few: Split, tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=1, device="cpu")
    fit(make(), *few, settings=settings, run_dir=tmp_path, verbose=False)
    with pytest.raises(ValueError, match="run_dir: expected a folder without a run, or resume"):
        fit(make(), *few, settings=settings, run_dir=tmp_path, verbose=False)


def test_what_a_person_sees(few: Split, capfd: pytest.CaptureFixture[str]) -> None:
    with terminal() as written:
        fit(make(), *few, validation=few, settings=TrainingSettings(epochs=2, batch_size=50, device="cpu"))
        out, err = capfd.readouterr().out, written()
    line = r"epoch   {}/2  train loss \d\.\d{{4}}  val accuracy \d+\.\d\d %  lr \S+  [\d,]+ graphs/s  \d+\.\d s\n"
    assert re.fullmatch(line.format(1) + line.format(2), out)
    assert re.search(r"epoch 1/2: .*loss=\d\.\d{4}", err)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"epochs": 0}, "epochs: expected a positive integer, got 0"),
        ({"epochs": 1.5}, "epochs: expected a positive integer, got 1.5"),
        ({"num_workers": -1}, "num_workers: expected a non-negative integer"),
        ({"weight_decay": -1.0}, "weight_decay: expected a non-negative number"),
        ({"clip": float("nan")}, "clip: expected a non-negative number"),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a number in \[0, 1\)"),
        ({"averaging": 1.5}, r"averaging: expected a number in \[0, 1\]"),
        ({"lr": -1.0}, "lr: expected a positive number"),
        ({"precision": "8"}, "precision: expected one of"),
        ({"loader": "fast"}, "loader: expected one of"),
        ({"device": "tpu"}, "device: expected one of"),
    ],
)
def test_settings_out_of_range(change: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        TrainingSettings(**change)


def test_data_that_does_not_fit(few: Split) -> None:
    with pytest.raises(ValueError, match=r"labels: expected values in \[0, 10\), got 10 at position"):
        fit(make(), few.images, torch.cat([few.labels[:-1], torch.tensor([10])]))
    with pytest.raises(ValueError, match=r"labels: expected 100, one for each image, got 99"):
        fit(make(), few.images, few.labels[:-1])
    with pytest.raises(ValueError, match=r"labels: expected one label for each image, got str"):
        fit(make(), few.images, "labels")
    with pytest.raises(ValueError, match=r"images\[\d\]: expected float values in \[0, 1\], got \d"):
        fit(make(), few.images.float(), few.labels)
    with pytest.raises(ValueError, match=r"images: expected a tensor, a NumPy array or a sequence .*, got dict"):
        fit(make(), {"images": few.images}, few.labels)
    with pytest.raises(ValueError, match="images: expected at least one pixel"):
        fit(make(), few.images[:0], few.labels[:0])


class TestAugmentation:
    def test_an_image_does_not_depend_on_the_others(self, few: Split) -> None:
        maps = RandomWarp().draw(100, torch.Generator().manual_seed(0))
        together = RandomWarp()(few.images, maps)
        alone = torch.cat([RandomWarp()(few.images[i : i + 1], maps[i : i + 1]) for i in range(100)])
        assert torch.equal(together, alone)
        assert (together != few.images).any()

    def test_no_amount_is_no_change(self, few: Split) -> None:
        still = RandomWarp(degrees=0, scale=0, shear=0, shift=0, bend=0)
        assert torch.equal(still(few.images, still.draw(100, torch.Generator())), few.images)

    def test_bending_moves_the_points_of_a_grid(self) -> None:
        # A grid of two points in a row: the right ones fetch from one of four pixels (half a unit) further left. From
        image = (torch.arange(4, dtype=torch.uint8) * 10).expand(1, 4, 4)
        moved = torch.zeros(1, 2, 7)
        moved[0, :, :3] = torch.eye(2, 3)
        moved[0, 0, 4] = moved[0, 0, 6] = -0.5
        bent = RandomWarp(points=2)(image, moved)[0]
        assert bent[:, 0].tolist() == [0] * 4
        assert bent[:, 3].tolist() == [20] * 4
        assert (bent == bent[0]).all()
        assert (bent[0, 1:] <= image[0, 0, 1:]).all()

    def test_a_quarter_turn(self) -> None:
        # cos 0, sin 1: the map sends output (x, y) to input (−y, x).
        image = torch.arange(12, dtype=torch.uint8).view(1, 3, 4)[:, :, :3]
        turned = RandomWarp()(image, torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]))
        assert torch.equal(turned, image.rot90(1, (1, 2))) or torch.equal(turned, image.rot90(-1, (1, 2)))

    def test_mirror_images(self, few: Split) -> None:
        mirror = RandomWarp(degrees=0, scale=0, shear=0, shift=0, bend=0, flip=1)
        assert torch.equal(mirror(few.images, mirror.draw(100, torch.Generator())), few.images.flip(2))
        half = RandomWarp(degrees=0, scale=0, shear=0, shift=0, flip=0.5).draw(4000, torch.Generator().manual_seed(0))
        assert (half[:, 0, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.03)
        # Without mirror images all draws are what they were before there were any.
        assert torch.equal(
            half.abs(),
            RandomWarp(degrees=0, scale=0, shear=0, shift=0).draw(4000, torch.Generator().manual_seed(0)).abs(),
        )

    def test_shifts_by_whole_pixels(self) -> None:
        image = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
        # One pixel of four is half a unit. Output column 0 shows input column 1; the border repeats.
        shifted = RandomWarp()(image, torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]))
        assert shifted[0, 0].tolist() == [1, 2, 3, 3]

    def test_images_that_are_only_shifted_and_mirrored_keep_their_pixels(self) -> None:
        images = torch.zeros(200, 3, 10, 12, dtype=torch.uint8)
        images[:, :, 5, 6] = torch.tensor([255, 100, 1], dtype=torch.uint8)
        warp = RandomWarp(degrees=0, scale=0, shear=0, shift=0.2, bend=0, flip=0.5)
        moved = warp(images, warp.draw(200, torch.Generator().manual_seed(0)))
        assert torch.equal(moved.flatten(2).sort().values, images.flatten(2).sort().values)
        rows, columns = moved[:, 0].nonzero()[:, 1:].T
        # By up to two pixels down or up; from column 6, or 5 in the mirror, by up to 2.4 to the right or left.
        assert sorted(set(rows.tolist())) == [3, 4, 5, 6, 7]
        assert sorted(set(columns.tolist())) == [3, 4, 5, 6, 7, 8]

    def test_a_square_of_each_image_is_hidden(self) -> None:
        images = torch.zeros(2, 3, 8, 4, dtype=torch.uint8)
        # Of 0.25 · 8 = 2 pixels a side: around the middle of an image, and around its upper left corner.
        hidden = RandomCutout(side=0.25)(images, torch.tensor([[0.5, 0.5], [0.0, 0.0]]))
        expected = torch.zeros(2, 8, 4, dtype=torch.uint8)
        expected[0, 3:5, 1:3] = expected[1, 0, 0] = 127
        assert torch.equal(hidden, expected[:, None].expand_as(images))
        assert torch.equal(RandomCutout(side=0.25)(images[:, 0], torch.tensor([[0.5, 0.5], [0.0, 0.0]])), expected)

    def test_colour_and_oblong_images(self) -> None:
        images = torch.randint(256, (5, 3, 10, 20), dtype=torch.uint8)
        maps = RandomWarp().draw(5, torch.Generator().manual_seed(1))
        assert RandomWarp()(images, maps).shape == images.shape

    def test_stays_within_its_bounds(self) -> None:
        maps = RandomWarp(degrees=10, scale=0.1, shear=0, shift=0.07).draw(5000, torch.Generator().manual_seed(0))
        assert maps[:, :, 2].abs().max() <= 0.14
        size = torch.linalg.det(maps[:, :, :2])
        assert size.max() <= 1.1 * 1.1 * 1.05
        assert size.min() >= 1 / (1.1 * 1.1 * 1.05)
        angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
        assert angle.abs().max() <= 10.01
        assert angle.abs().max() > 9.9


class TestDatasets:
    def test_each_epoch_has_every_image_once(self, few: Split) -> None:
        sampler = EpochSampler(ImageDataset(*few), seed=3)
        orders = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            orders.append(list(sampler))
            assert sorted(orders[-1]) == list(range(100))
        assert orders[0] != orders[1] != orders[2]
        sampler.set_epoch(0)
        assert list(sampler) == orders[0]

    def test_one_is_as_many(self, few: Split) -> None:
        dataset = ImageDataset(*few, augment=RandomWarp(), seed=5)
        images, labels = dataset[[3, 1, 4]]
        for row, i in enumerate([3, 1, 4]):
            assert torch.equal(dataset[i][0], images[row])
            assert int(dataset[i][1]) == int(labels[row])

    def test_augments_anew_in_each_epoch(self, few: Split) -> None:
        dataset = ImageDataset(*few, augment=RandomWarp())
        first: Tensor = dataset[7][0]
        dataset.set_epoch(1)
        assert not torch.equal(dataset[7][0], first)
        dataset.set_epoch(0)
        assert torch.equal(dataset[7][0], first)

    def test_graphs(self, few: Split) -> None:
        vision = VisionBrain()
        dataset = ImageGraphDataset(ImageDataset(*few), vision)
        assert len(dataset) == 100
        assert dataset.num_classes == 10
        assert torch.equal(dataset[5].x, vision(few.images[5]).x)
        assert dataset[5].y.tolist() == [int(few.labels[5])]


def test_what_is_measured_of_many_classes() -> None:
    """Of 400 classes of 30 images 250 are looked at, whole; of larger classes 40 images each."""
    labels = torch.arange(12_000) % 400
    chosen = labels[remembering._whole(labels)]
    assert torch.bincount(chosen).unique().tolist() == [0, 30]
    assert chosen.unique().numel() == 250
    sizes = torch.tensor([100, 0, 3])
    found = remembering._whole(torch.arange(3).repeat_interleave(sizes))
    assert found.tolist() == [*range(40), 100, 101, 102]


def test_many_classes_of_few_images_are_measured_whole(monkeypatch: pytest.MonkeyPatch, small_digits: Split) -> None:
    """Where the memory has about three images of each class, it still knows what ten of them say of another."""
    model = ImageClassificationModel.from_preset("tiny").eval()
    monkeypatch.setattr(remembering, "MOST", 40)
    remembering.remember(model, ImageDataset(*small_digits), None, verbose=False)
    memory = model.classifier.memory
    assert memory is not None
    assert memory.shots[:, 1:4].unique(dim=1).shape == (2, 3)
