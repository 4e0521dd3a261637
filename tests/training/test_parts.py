import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import BudgetBatchSampler, EpochSampler, ImageDataset, Split
from grapheme_pyg.explanation import explain
from grapheme_pyg.nn import ClassificationBrain
from grapheme_pyg.testing import renumber
from grapheme_pyg.training.muon import MuonAdamW
from grapheme_pyg.training.optimizer import make_optimizer, one_cycle

# Of a few steps, after which some classes are not recognised yet.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")


@pytest.fixture
def few(small_digits: Split) -> Split:
    return Split(small_digits.images[:100], small_digits.labels[:100])


def make(**kwargs: object) -> ImageClassificationModel:
    torch.manual_seed(0)
    arguments = {"hidden_channels": (6, 8, 10), "embedding_channels": 12, "dropout": 0.0} | kwargs
    return ImageClassificationModel(VisionBrain(extend=False), **arguments)


def train(
    model: ImageClassificationModel, few: Split, *, validation: Split | None = None, **settings: object
) -> list[dict[str, float]]:
    common = {"epochs": 1, "batch_size": 50, "augment": False, "device": "cpu"}
    return fit(model, *few, validation=validation, settings=TrainingSettings(**(common | settings)), verbose=False)


def tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def assert_same(came: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(came.keys()) == set(expected.keys())
    for name, value in expected.items():
        assert torch.equal(came[name], value), name


def optimizer_of(model: ImageClassificationModel, **settings: object) -> MuonAdamW:
    return make_optimizer(model, TrainingSettings(**settings).for_images(len(model.classes), in_colour=False))


def count_updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many embeddings templates are moved by, each time."""
    sizes: list[int] = []
    update = ClassificationBrain.update_templates

    def counted(self: ClassificationBrain, embedding: Tensor, labels: Tensor) -> None:
        assert not embedding.requires_grad
        sizes.append(len(labels))
        update(self, embedding, labels)

    monkeypatch.setattr(ClassificationBrain, "update_templates", counted)
    return sizes


class TestFreeze:
    @pytest.fixture
    def few(self, digits: tuple[Split, Split]) -> Split:
        """Of full size: in smaller images there is nothing that some of the weights belong to."""
        return Split(digits[0].images[:100], digits[0].labels[:100])

    @pytest.mark.parametrize("optimizer", ["muon", "adamw"])
    @pytest.mark.parametrize(("frozen", "learning"), [("dag", "classifier"), ("classifier", "dag")])
    def test_one_part(self, few: Split, frozen: str, learning: str, optimizer: str) -> None:
        model = make()
        before = tensors(model)
        # Validation between the epochs switches modes to and fro.
        validation = Split(few.images[:20], few.labels[:20])
        train(model, few, epochs=2, validation=validation, freeze=(frozen,), optimizer=optimizer)
        after = tensors(model)
        moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
        # Weights and running statistics.
        assert moved == {name for name in before if name.startswith(learning)}
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert not any(module.training for module in model.modules())

    def test_nothing(self, few: Split) -> None:
        model = make()
        before = tensors(model)
        train(model, few)
        after = tensors(model)
        assert not any(torch.equal(after[name], value) for name, value in before.items())

    def test_frozen_parts_thaw(self, few: Split) -> None:
        model = make()
        train(model, few, freeze=("dag",))
        before = tensors(model.dag)
        train(model, few)
        after = tensors(model.dag)
        assert not any(torch.equal(after[name], value) for name, value in before.items())

    def test_what_never_learns_stays_so(self, few: Split) -> None:
        model = make(template_update="momentum")
        model.dag.norm["cell0_round0"].weight.requires_grad_(False)
        for frozen in ("dag", "classifier"):
            train(model, few, freeze=(frozen,))
            still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
            assert still == {"classifier.templates", "dag.norm.cell0_round0.weight"}

    def test_templates_by_momentum_freeze_too(self, few: Split) -> None:
        model = make(template_update="momentum")
        train(model, few)
        before = tensors(model.classifier)
        train(model, few, freeze=("classifier",))
        after = tensors(model.classifier)
        learned = [name for name in before if not name.startswith("memory.")]
        assert_same({name: after[name] for name in learned}, {name: before[name] for name in learned})

    def test_templates_by_momentum_move_beside_a_frozen_dag(self, few: Split) -> None:
        model = make(template_update="momentum")
        before = tensors(model.dag)
        train(model, few, freeze=("dag",))
        assert_same(tensors(model.dag), before)
        torch.testing.assert_close(model.classifier.templates.norm(dim=-1), torch.ones(10, 4))

    def test_restored_after_a_failure(self, few: Split) -> None:
        model = make()

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        handle = model.classifier.project.register_forward_hook(fail)
        with pytest.raises(ZeroDivisionError):
            train(model, few, freeze=("dag",))
        handle.remove()
        assert all(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize("freeze", [("vision",), ("dag", "classifier"), ["dag"], "dag", None, {"dag"}])
    def test_bad_values(self, freeze: object) -> None:
        with pytest.raises(ValueError, match=r"freeze: expected a tuple of some of \('dag', 'classifier'\), not all"):
            TrainingSettings(freeze=freeze)


class TestMomentum:
    def test_templates_have_length_one(self, few: Split) -> None:
        model = make(template_update="momentum")
        train(model, few, epochs=2, averaging=0.0)
        torch.testing.assert_close(model.classifier.templates.norm(dim=-1), torch.ones(10, 4))
        assert model.classifier.templates.grad is None
        assert not model.classifier.templates.requires_grad

    def test_learns(self, few: Split) -> None:
        model = make(template_update="momentum")
        metrics = train(model, few, epochs=5, batch_size=25)
        assert metrics[-1]["train_loss"] < 0.7 * metrics[0]["train_loss"]

    @pytest.mark.parametrize("optimizer", ["muon", "adamw"])
    def test_templates_are_not_the_optimisers(self, optimizer: str) -> None:
        for update, theirs in (("gradient", True), ("momentum", False)):
            model = make(template_update=update)
            groups = optimizer_of(model, optimizer=optimizer).param_groups
            assert (id(model.classifier.templates) in {id(p) for group in groups for p in group["params"]}) == theirs

    @pytest.mark.parametrize(
        ("batch_size", "accumulate", "sizes"),
        # The last batch is smaller, and the last step is of fewer batches.
        [(50, 1, [50, 50]), (60, 1, [60, 40]), (25, 2, [50, 50]), (40, 2, [80, 20])],
    )
    def test_templates_move_once_for_each_step(
        self, few: Split, monkeypatch: pytest.MonkeyPatch, batch_size: int, accumulate: int, sizes: list[int]
    ) -> None:
        came = count_updates(monkeypatch)
        train(make(template_update="momentum"), few, batch_size=batch_size, accumulate=accumulate)
        assert came == sizes

    def test_templates_by_gradient_are_not_moved(self, few: Split, monkeypatch: pytest.MonkeyPatch) -> None:
        came = count_updates(monkeypatch)
        train(make(), few)
        assert came == []

    def test_they_move_towards_the_embeddings_of_the_step(self, few: Split, monkeypatch: pytest.MonkeyPatch) -> None:
        # Those that its loss was computed from, by the weights from before it.
        model = make(template_update="momentum", norm="layer")
        before = copy.deepcopy(model)
        given: list[Tensor] = []
        monkeypatch.setattr(ClassificationBrain, "update_templates", lambda _, *arguments: given.extend(arguments))
        train(model, few, batch_size=100)
        embedding, labels = given
        expected, order = before.embed_images(few.images), EpochSampler(few.images, seed=0)
        order = torch.tensor(list(order))
        assert torch.equal(labels, few.labels[order])
        torch.testing.assert_close(embedding, expected[order], rtol=0, atol=1e-5)

    def test_accumulation_is_one_large_batch(self, few: Split) -> None:
        def run(**settings: object) -> dict[str, Tensor]:
            model = make(template_update="momentum", norm="layer")
            train(model, few, epochs=2, precision="64-true", clip=0, **settings)
            return tensors(model)

        small, large = run(batch_size=25, accumulate=2), run(batch_size=50)
        for name, value in large.items():
            torch.testing.assert_close(small[name], value, rtol=0, atol=1e-6, msg=name)

    def test_bf16(self, few: Split) -> None:
        model = make(template_update="momentum")
        train(model, few, precision="bf16-mixed")
        assert model.classifier.templates.dtype == torch.float32
        torch.testing.assert_close(model.classifier.templates.norm(dim=-1), torch.ones(10, 4))

    def test_saved_and_loaded(self, few: Split, tmp_path: Path) -> None:
        model = make(template_update="momentum")
        train(model, few)
        model.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert loaded.classifier.template_update == "momentum"
        assert not loaded.classifier.templates.requires_grad
        assert torch.equal(loaded.predict(few.images).similarities, model.predict(few.images).similarities)


class TestResume:
    """A run that was interrupted gives, bit for bit, the weights of one that was not."""

    @pytest.mark.parametrize(
        ("arguments", "settings"),
        [
            ({"template_update": "momentum"}, {"accumulate": 2, "batch_size": 25}),
            pytest.param(
                {"template_update": "momentum"}, {"optimizer": "adamw", "freeze": ("dag",)}, marks=pytest.mark.slow
            ),
            pytest.param({"dropout": 0.3}, {"loss": "structural", "freeze": ("classifier",)}, marks=pytest.mark.slow),
        ],
        ids=str,
    )
    def test_bit_for_bit(
        self, few: Split, tmp_path: Path, arguments: dict[str, object], settings: dict[str, object]
    ) -> None:
        options = {"epochs": 3, "batch_size": 50, "device": "cpu"} | settings
        whole = make(**arguments)
        expected = train(whole, few, augment=True, **options)

        class Interrupted(Exception):  # noqa: N818
            pass

        model = make(**arguments)
        number = 0
        last = 2 * (100 // options["batch_size"]) + 1  # in the third epoch

        def interrupt(*_: object) -> None:
            nonlocal number
            number += 1
            if number > last:
                raise Interrupted

        model.dag.register_forward_pre_hook(interrupt)
        settings = TrainingSettings(**options)
        with pytest.raises(Interrupted):
            fit(model, *few, settings=settings, run_dir=tmp_path, verbose=False)
        # The weights of another seed: all come from the checkpoint.
        resumed = make(**arguments)
        torch.nn.init.normal_(resumed.classifier.project.weight)
        metrics = fit(resumed, *few, settings=settings, run_dir=tmp_path, resume=True, verbose=False)
        assert [m["train_loss"] for m in metrics] == [m["train_loss"] for m in expected]
        assert_same(tensors(resumed), tensors(whole))


class TestLosses:
    def test_structural_learns(self, few: Split) -> None:
        model = make()
        temperature = model.classifier.log_temperature.item()
        metrics = train(model, few, epochs=5, batch_size=25, loss="structural", validation=few)
        assert metrics[-1]["train_loss"] < 0.6 * metrics[0]["train_loss"]
        assert metrics[-1]["val_accuracy"] > 0.3
        # It has no softmax, hence no temperature.
        assert model.classifier.log_temperature.item() == temperature

    def test_structural_with_templates_by_momentum(self, few: Split) -> None:
        # In the first step all templates are unset, and as far as any other.
        model = make(template_update="momentum")
        first = train(model, Split(few.images[:40], few.labels[:40]), loss="structural")
        assert first[0]["train_loss"] == pytest.approx(math.log(2), abs=1e-6)
        metrics = train(model, few, loss="structural")
        assert math.isfinite(metrics[0]["train_loss"])
        assert all(parameter.isfinite().all() for parameter in model.parameters())

    def test_validation_has_the_same_loss(self, few: Split) -> None:
        for loss in ("structural", "cross_entropy"):
            model = make()
            metrics = train(model, few, validation=few, loss=loss)
            assert metrics[0]["val_loss"] == pytest.approx(loss_of(model, few, loss), abs=1e-5)

    def test_smoothing_is_for_training(self, few: Split) -> None:
        model = make()
        metrics = train(model, few, validation=few, label_smoothing=0.3)
        assert metrics[0]["val_loss"] == pytest.approx(loss_of(model, few, "cross_entropy"), abs=1e-5)

    @pytest.mark.parametrize("loss", ["hinge", None, ""])
    def test_bad_values(self, loss: object) -> None:
        with pytest.raises(ValueError, match=r"loss: expected one of \('cross_entropy', 'structural'\), got"):
            TrainingSettings(loss=loss)


class TestOptimizers:
    @pytest.mark.parametrize("optimizer", ["muon", "adamw"])
    def test_learns(self, few: Split, optimizer: str) -> None:
        metrics = train(make(), few, epochs=5, batch_size=25, optimizer=optimizer)
        assert metrics[-1]["train_loss"] < 0.7 * metrics[0]["train_loss"]

    def test_they_differ(self, few: Split) -> None:
        losses = [train(make(), few, optimizer=optimizer)[0]["train_loss"] for optimizer in ("muon", "adamw")]
        assert losses[0] != losses[1]

    def test_muon_is_for_the_kernels_of_the_dag(self) -> None:
        model = make()
        optimizer = optimizer_of(model, lr=0.003, kernel_lr=0.04, weight_decay=0.2)
        kernels, matrices, vectors = optimizer.param_groups
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        assert {names[id(p)].split(".")[0] for p in kernels["params"]} == {"dag"}
        assert {names[id(p)].split(".")[1] for p in kernels["params"]} == {"weight", "input_weight"}
        assert {names[id(p)] for p in matrices["params"]} == {"classifier.project.weight", "classifier.templates"}
        assert {p.dim() for p in vectors["params"]} == {0, 1}
        assert [group["weight_decay"] for group in (kernels, matrices, vectors)] == [0.2, 0.2, 0]
        assert [group["lr"] for group in (kernels, matrices, vectors)] == [0.04, 0.003, 0.003]
        every = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(every) == sorted(names)

    def test_adamw_is_for_all(self) -> None:
        model = make()
        matrices, vectors = optimizer_of(model, optimizer="adamw").param_groups
        assert len(matrices["params"]) + len(vectors["params"]) == len(list(model.parameters()))

    def test_rates_are_those_of_one_cycle(self) -> None:
        for steps in (1, 3, 6, 40):
            total = max(steps, 6)
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 1.0, total_steps=total, pct_start=0.2, cycle_momentum=False
            )
            for step in range(steps):
                assert one_cycle(step, steps) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
                optimizer.step()
                schedule.step()

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"optimizer": "sgd"}, r"optimizer: expected one of \('muon', 'adamw'\), got 'sgd'"),
            ({"kernel_lr": 0}, "kernel_lr: expected a positive number, got 0"),
            ({"kernel_lr": math.nan}, "kernel_lr: expected a positive number, got nan"),
        ],
    )
    def test_bad_values(self, change: dict[str, object], match: str) -> None:
        with pytest.raises(ValueError, match=match):
            TrainingSettings(**change)


class TestMemory:
    def test_training_remembers_anew(self, few: Split) -> None:
        model = make()
        model.remember(few.images[:5], few.labels[:5])
        train(model, few)
        known = model.classifier.memory
        # A fifth is for calibration.
        assert known.positions.tolist() == [place for place in range(len(few.labels)) if place % 5 < 4]
        assert int(known.total) == len(few.labels)
        assert known.quantiles.isfinite().all()
        assert model.predict(few.images, reject=0.5).labels.count(None) > 0

    def test_validation_calibrates(self, few: Split) -> None:
        model, half = make(), len(few.labels) // 2
        first, second = (Split(few.images[part], few.labels[part]) for part in (slice(half), slice(half, None)))
        train(model, first, validation=second)
        assert model.classifier.memory.positions.tolist() == list(range(half))
        refused = model.predict(few.images[half:], reject=0.25).labels.count(None)
        assert refused == pytest.approx((len(few.labels) - half) / 4, abs=1)

    def test_added_classes_are_not_forgotten(self, few: Split) -> None:
        model = make()
        model.remember(*few)
        model.add_class("new", few.images[:2])
        with pytest.raises(ValueError, match=r"model: expected no taught classes, got \['new'\]; call forget first"):
            train(model, few)
        assert model.classes[-1] == "new"


def loss_of(model: ImageClassificationModel, few: Split, loss: str) -> float:
    """The mean over samples, from what the model says of them one by one."""
    similarities, total = model.predict(few.images).similarities.double(), 0.0
    temperature = model.classifier.log_temperature.exp().item()
    for row, label in zip(similarities.tolist(), few.labels.tolist(), strict=True):
        if loss == "structural":
            own, other = 1 - row[label], min(1 - value for c, value in enumerate(row) if c != label)
            total += math.log(1 + math.exp(10 * (own - other) / (own + other)))
        else:
            total -= math.log(math.exp(temperature * row[label]) / sum(math.exp(temperature * value) for value in row))
    return total / len(few.labels)


def test_structural_loss_asks_for_two_classes(few: Split) -> None:
    model = ImageClassificationModel(VisionBrain(), classes=["one"], hidden_channels=(4, 4, 4))
    with pytest.raises(ValueError, match="loss: expected at least two classes for 'structural', got"):
        fit(model, few.images, torch.zeros_like(few.labels), settings=TrainingSettings(loss="structural"))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40, 1.0, True])
def test_seeds_out_of_range(seed: object, few: Split) -> None:
    takers = (
        lambda: TrainingSettings(seed=seed),
        lambda: ImageDataset(*few, seed=seed),
        lambda: EpochSampler(few.images, seed),
        lambda: BudgetBatchSampler(torch.ones(3, dtype=torch.int64), max_nodes=2, seed=seed),
        lambda: renumber(VisionBrain()(few.images[0]), seed),
        lambda: explain(ImageClassificationModel(VisionBrain()), few.images[0], seed=seed),
    )
    for take in takers:
        with pytest.raises(ValueError, match=rf"^seed: expected an integer in 0…4294967295, got {seed}$"):
            take()


def test_large_seeds(few: Split) -> None:
    model = ImageClassificationModel(VisionBrain(), hidden_channels=(4, 4, 4))
    settings = TrainingSettings(epochs=1, seed=2**32 - 1, device="cpu")
    assert len(fit(model, few.images[:20], few.labels[:20], settings=settings, verbose=False)) == 1
