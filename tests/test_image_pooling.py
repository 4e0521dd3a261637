import copy
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, Prediction, VisionBrain
from grapheme_pyg.augmentation.warp import SHIFTS, shifted
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import ModelFileError, TrainingWarning
from grapheme_pyg.image_pooling import COPIES, pool_examples

# Trained a little, the model takes new digits for others.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")

NAMES = [f"digit {i}" for i in range(8)]


@pytest.fixture(scope="module")
def known(small_digits: Split) -> Split:
    """Digits from 0 to 7."""
    some = small_digits.labels < 8
    return Split(small_digits.images[some], small_digits.labels[some])


@pytest.fixture(scope="module")
def eights(small_digits: Split) -> Tensor:
    return small_digits.images[small_digits.labels == 8]


@pytest.fixture(scope="module")
def nines(small_digits: Split) -> Tensor:
    return small_digits.images[small_digits.labels == 9]


@pytest.fixture(scope="module")
def untouched(known: Split) -> ImageClassificationModel:
    """Trained a little, on the first 200 digits; nothing is remembered."""
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", NAMES)
    batch = model.vision.batch(known.images[:200], known.labels[:200])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def ready(untouched: ImageClassificationModel, known: Split) -> ImageClassificationModel:
    """Remembers 200 digits and is calibrated on 150 others."""
    model = copy.deepcopy(untouched)
    model.remember(known.images[:200], known.labels[:200])
    model.calibrate(known.images[200:350], known.labels[200:350])
    return model


@pytest.fixture
def model(ready: ImageClassificationModel) -> ImageClassificationModel:
    return copy.deepcopy(ready)


def assert_same(came: Prediction, expected: Prediction) -> None:
    for field, value, other in zip(Prediction._fields, came, expected, strict=True):
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, field


def nll(model: ImageClassificationModel, images: Tensor, labels: Tensor) -> float:
    return torch.nn.functional.nll_loss(model.predict(images).probabilities.log(), labels).item()


class TestReject:
    @pytest.mark.parametrize("reject", [0.0, 0.05, 0.3, 0.9])
    def test_no_label_below_the_threshold(self, model: ImageClassificationModel, known: Split, reject: float) -> None:
        images = torch.cat([known.images[350:], torch.randint(256, (20, 14, 14), dtype=torch.uint8)])
        refusing, accepting = model.predict(images, reject=reject), model.predict(images)
        familiar = refusing.familiarity >= model.classifier.memory.threshold(reject)
        expected = [label if yes else None for label, yes in zip(accepting.labels, familiar.tolist(), strict=True)]
        assert refusing.labels == expected
        # All else is as without.
        assert_same(refusing._replace(labels=accepting.labels), accepting)

    @pytest.mark.parametrize("reject", [0.0, 0.05, 0.3, 0.9])
    def test_the_share_of_known_images(self, model: ImageClassificationModel, known: Split, reject: float) -> None:
        labels = model.predict(known.images[200:350], reject=reject).labels
        assert labels.count(None) / 150 == pytest.approx(reject, abs=1 / 150)
        # Of images that it was not calibrated on, roughly.
        others = model.predict(known.images[350:], reject=reject).labels
        assert others.count(None) / len(others) == pytest.approx(reject, abs=0.15)

    def test_by_default_nothing_is_refused(self, model: ImageClassificationModel) -> None:
        assert None not in model.predict(torch.randint(256, (20, 14, 14), dtype=torch.uint8)).labels

    def test_familiarity_of_remembered_images(self, model: ImageClassificationModel, known: Split) -> None:
        familiarity = model.predict(known.images[:200]).familiarity
        torch.testing.assert_close(familiarity, torch.ones(200), rtol=0, atol=2e-3)
        assert familiarity.dtype == torch.float32

    def test_asks_for_a_calibrated_memory(self, untouched: ImageClassificationModel, known: Split) -> None:
        model = copy.deepcopy(untouched)
        calls = [
            lambda: None,
            lambda: model.calibrate(known.images[:20], known.labels[:20]),
            # What was measured before belongs to no memory.
            lambda: model.remember(known.images[:20], known.labels[:20]),
        ]
        for call in calls:
            call()
            with pytest.raises(ValueError, match="reject: expected a calibrated memory, as fit leaves it"):
                model.predict(known.images[:2], reject=0.1)
        assert model.predict(known.images[:2]).familiarity is not None
        model.calibrate(known.images[:20], known.labels[:20])
        assert len(model.predict(known.images[:2], reject=0.1).labels) == 2

    @pytest.mark.parametrize("reject", [-0.1, 1.0, 1, 7.5, math.nan])
    def test_bad_shares(self, model: ImageClassificationModel, known: Split, reject: float) -> None:
        with pytest.raises(ValueError, match=rf"reject: expected a number in \[0, 1\), got {reject}"):
            model.predict(known.images[:2], reject=reject)


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """Pixel by pixel; the border is repeated."""
    height, width = image.shape[-2:]
    result = image.clone()
    for y in range(height):
        for x in range(width):
            source = min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)
            result[..., y, x] = image[..., source[0], source[1]]
    return result


class TestViews:
    def test_shifts_by_hand(self) -> None:
        image = torch.tensor([[[[1, 2, 3], [4, 5, 6]]]], dtype=torch.uint8)
        assert shifted(image, 0, 0).tolist() == [[[[1, 2, 3], [4, 5, 6]]]]
        assert shifted(image, 1, 0).tolist() == [[[[1, 2, 3], [1, 2, 3]]]]
        assert shifted(image, 0, 1).tolist() == [[[[1, 1, 2], [4, 4, 5]]]]
        assert shifted(image, -1, -1).tolist() == [[[[5, 6, 6], [5, 6, 6]]]]
        assert shifted(image, 1, -1).tolist() == [[[[2, 3, 3], [2, 3, 3]]]]

    @pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 5, 7), (3, 3, 4, 1)])
    def test_shifts_of_any_size(self, shape: tuple[int, ...]) -> None:
        images = torch.randint(256, shape, dtype=torch.uint8)
        for down, right in SHIFTS:
            came = shifted(images, down, right)
            assert came.dtype == torch.uint8
            assert torch.equal(came, moved(images, down, right))

    def test_nine_different_ones(self) -> None:
        assert sorted(SHIFTS) == [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        assert SHIFTS[0] == (0, 0)

    def test_one_view_is_the_image(self, model: ImageClassificationModel, known: Split) -> None:
        images = known.images[:30]
        assert_same(model.predict(images, views=1, reject=0.2), model.predict(images, reject=0.2))

    @pytest.mark.parametrize("views", [2, 5, 9])
    def test_the_mean_over_shifts(self, model: ImageClassificationModel, known: Split, views: int) -> None:
        images = known.images[:12]
        alone = [model.predict(torch.stack([moved(image, *view) for image in images])) for view in SHIFTS[:views]]
        came = model.predict(images, views=views)
        probabilities = sum(prediction.probabilities for prediction in alone) / views
        torch.testing.assert_close(came.probabilities, probabilities)
        torch.testing.assert_close(came.similarities, sum(prediction.similarities for prediction in alone) / views)
        torch.testing.assert_close(came.confidences, probabilities.amax(dim=1))
        assert came.labels == [NAMES[i] for i in probabilities.argmax(dim=1)]
        # How familiar an image is does not depend on its views.
        assert torch.equal(came.familiarity, alone[0].familiarity)

    def test_images_of_several_sizes(self, model: ImageClassificationModel, known: Split) -> None:
        images = [known.images[0], known.images[1][:10], known.images[2][:10], torch.zeros(3, 5), known.images[3]]
        came = model.predict(images, views=5, batch_size=2)
        for i, image in enumerate(images):
            alone = model.predict(image[None], views=5)
            torch.testing.assert_close(came.probabilities[i], alone.probabilities[0])

    def test_other_kinds_of_images(self, model: ImageClassificationModel, known: Split) -> None:
        images = known.images[:4]
        expected = model.predict(images, views=3)
        for other in (
            images[:, None],
            images.numpy(),
            images / 255,
            list(images),
            [Image.fromarray(image) for image in images.numpy()],
        ):
            assert_same(model.predict(other, views=3), expected)

    @pytest.mark.parametrize("views", [0, -1, 10, 2.0, "2"])
    def test_bad_numbers(self, model: ImageClassificationModel, known: Split, views: object) -> None:
        with pytest.raises(ValueError, match=f"views: expected an integer in 1…9, got {views!r}"):
            model.predict(known.images[:2], views=views)


class TestNearest:
    def test_of_a_remembered_image_is_itself(self, model: ImageClassificationModel, known: Split) -> None:
        cosines, positions = model.nearest(known.images[:200], number=3)
        assert cosines.shape == positions.shape == (200, 3)
        assert positions[:, 0].tolist() == list(range(200))
        torch.testing.assert_close(cosines[:, 0], torch.ones(200), rtol=0, atol=2e-3)
        assert (cosines.diff(dim=1) <= 0).all()
        assert (cosines[:, 1] < 0.9999).any()

    def test_all_of_them(self, model: ImageClassificationModel, known: Split) -> None:
        _, positions = model.nearest(known.images[200:204], number=200)
        for row in positions.tolist():
            assert sorted(row) == list(range(200))

    def test_is_as_familiar_as_the_image(self, model: ImageClassificationModel, known: Split) -> None:
        images = known.images[200:230]
        assert torch.equal(model.nearest(images, number=1)[0].squeeze(1), model.predict(images).familiarity)

    def test_is_often_of_the_same_class(self, model: ImageClassificationModel, known: Split) -> None:
        positions = model.nearest(known.images[200:], number=1)[1].squeeze(1)
        assert (known.labels[positions] == known.labels[200:]).double().mean() > 0.4

    def test_examples_of_added_classes_come_after(self, model: ImageClassificationModel, eights: Tensor) -> None:
        model.add_class("eight", eights[:4])
        assert model.nearest(eights[:4], number=1)[1].flatten().tolist() == [200, 201, 202, 203]

    @pytest.mark.parametrize("number", [0, -1, 201])
    def test_bad_numbers(self, model: ImageClassificationModel, known: Split, number: int) -> None:
        with pytest.raises(ValueError, match=f"number: expected an integer in 1…200, got {number}"):
            model.nearest(known.images[:2], number=number)

    def test_without_memory(self, untouched: ImageClassificationModel, known: Split) -> None:
        with pytest.raises(ValueError, match="memory: expected one, as fit leaves it, got none; call remember"):
            untouched.nearest(known.images[:2])


class TestRemember:
    def test_changes_no_prediction(self, untouched: ImageClassificationModel, known: Split) -> None:
        model = copy.deepcopy(untouched)
        before = model.predict(known.images)
        model.remember(known.images[:50], known.labels[:50])
        after = model.predict(known.images)
        assert before.familiarity is None
        assert_same(after._replace(familiarity=None), before)

    def test_replaces_what_was_remembered(self, model: ImageClassificationModel, known: Split) -> None:
        model.remember(known.images[200:230], known.labels[200:230])
        assert len(model.classifier.memory.keys) == 30
        assert model.classifier.memory.quantiles.isnan().all()

    def test_batch_size_does_not_matter(self, model: ImageClassificationModel, known: Split) -> None:
        expected = model.predict(known.images[300:]).familiarity
        model.remember(known.images[:200], known.labels[:200], batch_size=7)
        torch.testing.assert_close(model.predict(known.images[300:]).familiarity, expected, rtol=0, atol=2e-3)

    def test_dropout_is_for_training(self, untouched: ImageClassificationModel, known: Split) -> None:
        # In training mode too, what is said of images is not random.
        model, some = copy.deepcopy(untouched), Split(known.images[:50], known.labels[:50])
        model.classifier.dropout = 0.5
        said = []
        for training in (False, True, True):
            model.train(training)
            with torch.no_grad():
                model.classifier.log_temperature.fill_(1.0)
            model.calibrate(*some)
            temperature = model.classifier.log_temperature.item()
            said.append((temperature, model.embed_images(some.images), model.predict(some.images).probabilities))
        for temperature, embedding, probabilities in said[1:]:
            assert temperature == said[0][0]
            assert torch.equal(embedding, said[0][1])
            assert torch.equal(probabilities, said[0][2])

    def test_modes_stay(self, model: ImageClassificationModel, known: Split) -> None:
        model.train().classifier.eval()
        before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
        model.predict(known.images[:2], views=2)
        model.nearest(known.images[:2])
        model.embed_images(known.images[:2])
        assert model.training
        assert model.dag.training
        assert not model.classifier.training
        for name, value in before.items():
            assert torch.equal(model.state_dict()[name], value), name

    @pytest.mark.parametrize(
        "labels",
        [
            torch.zeros(4, dtype=torch.int64),
            torch.zeros(3, 2, dtype=torch.int64),
            torch.tensor([0, 8, 1]),
            torch.tensor([0, -1, 1]),
            [0, 0.5, 2],
            ["0", "9", "1"],
        ],
    )
    def test_bad_labels(self, model: ImageClassificationModel, known: Split, labels: object) -> None:
        for method in (model.remember, model.calibrate):
            with pytest.raises(ValueError, match=r"(labels|images): expected .*, got"):
                method(known.images[:3], labels)

    def test_added_classes_are_not_forgotten(
        self, model: ImageClassificationModel, known: Split, eights: Tensor
    ) -> None:
        model.add_class("eight", eights[:4])
        with pytest.raises(ValueError, match=r"classes: expected none that was taught, got \['eight'\]"):
            model.remember(known.images[:20], known.labels[:20])

    def test_nothing_is_refused(self, model: ImageClassificationModel, known: Split) -> None:
        nothing = known.images[:0]
        for call in (
            lambda: model.remember(nothing, known.labels[:0]),
            lambda: model.calibrate(nothing, known.labels[:0]),
            lambda: model.nearest(nothing),
            lambda: model.add_class("nothing", nothing),
            lambda: model.embed_images(nothing),
        ):
            with pytest.raises(ValueError, match="images: expected at least one image, got none"):
                call()
        assert model.classes == NAMES


class TestAddClass:
    def test_predictions_have_it(self, model: ImageClassificationModel, known: Split, eights: Tensor) -> None:
        before = model.predict(known.images)
        model.add_class("eight", eights[:10])
        assert model.classes == [*NAMES, "eight"]
        after = model.predict(torch.cat([known.images, eights]))
        assert after.similarities.shape == after.probabilities.shape == (len(known.images) + len(eights), 9)
        torch.testing.assert_close(after.probabilities.sum(dim=1), torch.ones(len(after.labels)))
        assert torch.equal(after.confidences, after.probabilities.amax(dim=1))
        # Its examples are of it (but where others are as near), and other eights more often than what is none.
        others, new = after.labels[: len(known.images)], after.labels[len(known.images) :]
        assert new[:10].count("eight") >= 8
        assert others.count("eight") < 0.1 * len(others)
        assert new[10:].count("eight") / len(new[10:]) > 2 * others.count("eight") / len(others)
        for label, other in zip(others, before.labels, strict=True):
            assert label in (other, "eight")

    def test_it_is_what_memory_claims(self, model: ImageClassificationModel, known: Split, eights: Tensor) -> None:
        model.add_class("eight", eights[:5])
        images = torch.cat([known.images[:100], eights])
        with torch.no_grad():
            claims = model.classifier.memory.claims(model.pool(model.vision.batch(images)))
        assert [label == "eight" for label in model.predict(images).labels] == (claims[:, 0] > 0).tolist()

    def test_one_example(self, model: ImageClassificationModel, eights: Tensor) -> None:
        model.add_class("eight", eights[:1])
        prediction = model.predict(eights)
        assert prediction.labels[0] == "eight"
        assert prediction.probabilities.isfinite().all()

    def test_several_classes(
        self, model: ImageClassificationModel, known: Split, eights: Tensor, nines: Tensor
    ) -> None:
        model.add_class("eight", eights[:5])
        model.add_class("nine", nines[:5])
        assert model.classes == [*NAMES, "eight", "nine"]
        prediction = model.predict(torch.cat([eights[:5], nines[:5], known.images[:10]]), views=3)
        assert prediction.probabilities.shape == (20, 10)
        assert sum(label in ("eight", "nine") for label in prediction.labels[:10]) >= 7
        # Both may be calibrated on.
        images, labels = torch.cat([known.images[200:], nines]), known.labels[200:]
        model.calibrate(images, torch.cat([labels, torch.full((len(nines),), 9)]))
        assert model.predict(images, reject=0.2).labels.count(None) == pytest.approx(0.2 * len(images), abs=1)

    def test_logits_of_graphs_have_it(self, model: ImageClassificationModel, eights: Tensor) -> None:
        model.add_class("eight", eights[:5])
        logits = model(model.vision.batch(eights[:5]))
        assert logits.shape == (5, 9)
        torch.testing.assert_close(logits.softmax(dim=1), model.predict(eights[:5]).probabilities)

    @pytest.mark.parametrize("name", ["digit 3", "eight"])
    def test_more_examples(self, model: ImageClassificationModel, eights: Tensor, name: str) -> None:
        model.add_class("eight", eights[:2])
        model.add_class(name, eights[2:6])
        assert model.classes == [*NAMES, "eight"]
        labels = model.predict(eights[2:6]).labels
        assert labels.count(name) >= 3
        assert model.classifier.memory.examples() == ([6] if name == "eight" else [2, 4])

    def test_removed(self, model: ImageClassificationModel, known: Split, eights: Tensor) -> None:
        before = model.predict(known.images)
        model.add_class("eight", eights[:5])
        model.add_class("digit 3", eights[5:9])
        for name in ("eight", "digit 3"):
            model.remove_class(name)
        assert model.classes == NAMES
        assert_same(model.predict(known.images), before)
        with pytest.raises(ValueError, match=r"name: expected a class that was taught, one of \[\], got 'digit 3'"):
            model.remove_class("digit 3")

    def test_renamed(self, model: ImageClassificationModel, eights: Tensor, tmp_path: Path) -> None:
        model.add_class("eight", eights[:5])
        before = model.predict(eights)
        model.rename_class("eight", "acht")
        model.rename_class("digit 3", "drei")
        with pytest.raises(ValueError, match="new: expected a name that no class has yet, got 'drei'"):
            model.rename_class("acht", "drei")
        with pytest.raises(ValueError, match="name: expected one of"):
            model.rename_class("eight", "x")
        model.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert loaded.classes == model.classes == ["drei" if name == "digit 3" else name for name in NAMES] + ["acht"]
        for it in (model, loaded):
            assert torch.equal(it.predict(eights).similarities, before.similarities)

    @pytest.mark.filterwarnings("default::grapheme_pyg.errors.TrainingWarning")
    def test_a_class_that_looks_like_another_is_named(self, model: ImageClassificationModel, known: Split) -> None:
        threes = known.images[:200][known.labels[:200] == 3]
        with pytest.warns(TrainingWarning, match="again: expected examples .*, got some that look like 'digit 3'"):
            model.add_class("again", threes[:5])

    def test_without_any_trained_class(
        self, model: ImageClassificationModel, known: Split, eights: Tensor, nines: Tensor, tmp_path: Path
    ) -> None:
        taught = model.with_classes([])
        with pytest.raises(ValueError, match="classes: expected at least one, got none; teach the model"):
            taught.predict(eights)
        taught.add_class("eight", eights[:5])
        taught.add_class("nine", nines[:5])
        assert taught.classes == ["eight", "nine"]
        prediction = taught.predict(torch.cat([eights[:5], nines[:5]]), reject=0.01)
        assert prediction.labels == ["eight"] * 5 + ["nine"] * 5
        taught.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert_same(loaded.predict(known.images, reject=0.01), taught.predict(known.images, reject=0.01))

    def test_without_memory(self, untouched: ImageClassificationModel, eights: Tensor) -> None:
        with pytest.raises(ValueError, match="memory: expected one, as fit leaves it, got none"):
            untouched.add_class("eight", eights[:2])


class TestPoolExamples:
    def test_examples_and_their_copies(self, untouched: ImageClassificationModel, eights: Tensor) -> None:
        came, alone = (pool_examples(untouched, *some) for some in ((eights[:4], 3), (eights[2:3], 256)))
        assert came.shape == (4, 1 + COPIES, untouched.classifier.pooled_channels)
        # Hundreds of examples would keep all their states for gradients.
        assert not came.requires_grad
        torch.testing.assert_close(came[:, 0], untouched.pool_images(eights[:4]), rtol=0, atol=1e-5)
        # Copies differ from the example, and do not depend on what else is taught.
        assert not any(torch.allclose(came[0, 0], copied, atol=1e-3) for copied in came[0, 1:])
        torch.testing.assert_close(alone[0], came[2], rtol=0, atol=1e-5)

    def test_colours_have_no_copies(self) -> None:
        model = ImageClassificationModel(VisionBrain(in_channels=3), 2)
        assert pool_examples(model, torch.rand(2, 3, 16, 16), 256).shape[1] == 1


class TestCalibrate:
    def test_labels_stay_and_the_loss_falls(self, untouched: ImageClassificationModel, known: Split) -> None:
        some = Split(known.images[200:300], known.labels[200:300])
        for start in (0.5, 10, 400):
            model = copy.deepcopy(untouched)
            with torch.no_grad():
                model.classifier.log_temperature.fill_(math.log(start))
            labels, loss = model.predict(some.images).labels, nll(model, *some)
            model.calibrate(*some)
            assert model.predict(some.images).labels == labels
            assert nll(model, *some) < loss
            # Neither higher nor lower would be better.
            temperature, best = model.classifier.log_temperature.item(), nll(model, *some)
            for change in (-0.1, 0.1):
                with torch.no_grad():
                    model.classifier.log_temperature.fill_(temperature + change)
                assert nll(model, *some) > best

    def test_labels_stay_though_most_are_wrong(self, untouched: ImageClassificationModel, known: Split) -> None:
        # The best temperature would be zero, at which all classes are equal.
        model, images = copy.deepcopy(untouched), known.images[:100]
        before = model.predict(images)
        model.calibrate(images, before.similarities.argmin(dim=1))
        assert model.predict(images).labels == before.labels

    def test_one_image(self, untouched: ImageClassificationModel, known: Split) -> None:
        model = copy.deepcopy(untouched)
        labels = model.predict(known.images[:50]).labels
        model.calibrate(known.images[:1], known.labels[:1])
        assert model.predict(known.images[:50]).labels == labels
        assert model.classifier.log_temperature.isfinite()

    def test_it_asks_for_no_memory(self, untouched: ImageClassificationModel, known: Split) -> None:
        model = copy.deepcopy(untouched)
        model.calibrate(known.images[:50], known.labels[:50])
        assert model.classifier.memory is None
        assert model.classifier.log_temperature.requires_grad


class TestFiles:
    @pytest.fixture
    def grown(self, model: ImageClassificationModel, eights: Tensor, nines: Tensor) -> ImageClassificationModel:
        model.add_class("eight", eights[:4])
        model.add_class("nine", nines[:1])
        return model

    def test_a_grown_model_predicts_the_same(
        self, grown: ImageClassificationModel, known: Split, tmp_path: Path
    ) -> None:
        grown.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert loaded.classes == [*NAMES, "eight", "nine"]
        images = known.images[200:300]
        assert_same(loaded.predict(images, views=2, reject=0.2), grown.predict(images, views=2, reject=0.2))
        for one, other in zip(loaded.nearest(images), grown.nearest(images), strict=True):
            assert torch.equal(one, other)

    def test_goes_on_growing(
        self, model: ImageClassificationModel, eights: Tensor, nines: Tensor, tmp_path: Path
    ) -> None:
        model.add_class("eight", eights[:4])
        model.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        for it in (model, loaded):
            it.add_class("nine", nines[:4])
        assert_same(loaded.predict(nines, reject=0.1), model.predict(nines, reject=0.1))

    def test_saved_twice(self, grown: ImageClassificationModel, tmp_path: Path) -> None:
        grown.save_pretrained(tmp_path / "first")
        ImageClassificationModel.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
        first, second = (load_file(tmp_path / folder / "model.safetensors") for folder in ("first", "second"))
        assert first["classifier.memory.keys"].dtype == torch.float16
        assert first["classifier.memory.keys"].shape == (205, 28)
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert second[name].dtype == value.dtype, name
            assert torch.equal(second[name], value) or name.endswith("quantiles"), name
        for file in ("config.json", "model.safetensors"):
            assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
        memory = json.loads((tmp_path / "first" / "config.json").read_text())["memory"]
        assert memory == {"width": 28, "num_keys": 205, "added_classes": ["eight", "nine"]}

    def test_without_memory(self, untouched: ImageClassificationModel, known: Split, tmp_path: Path) -> None:
        untouched.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert loaded.classifier.memory is None
        assert_same(loaded.predict(known.images[:9]), untouched.predict(known.images[:9]))

    def test_not_calibrated(self, untouched: ImageClassificationModel, known: Split, tmp_path: Path) -> None:
        model = copy.deepcopy(untouched)
        model.remember(known.images[:20], known.labels[:20])
        model.save_pretrained(tmp_path)
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert_same(loaded.predict(known.images[:9]), model.predict(known.images[:9]))
        with pytest.raises(ValueError, match="reject: expected a calibrated memory"):
            loaded.predict(known.images[:9], reject=0.1)

    def test_in_double_precision(self, grown: ImageClassificationModel, known: Split, tmp_path: Path) -> None:
        images = known.images[200:230]
        expected = grown.predict(images, reject=0.2)
        grown.double().save_pretrained(tmp_path)
        for model in (grown, ImageClassificationModel.from_pretrained(tmp_path)):
            came = model.predict(images, reject=0.2)
            assert came.probabilities.dtype == torch.float32
            torch.testing.assert_close(came.probabilities, expected.probabilities, rtol=0, atol=1e-4)
            torch.testing.assert_close(came.familiarity, expected.familiarity, rtol=0, atol=1e-4)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"num_keys": 204}, r"model\.safetensors: classifier\.memory\.keys: .* of shape \[204, 28\]"),
            ({"added_classes": ["eight"]}, r"model\.safetensors: classifier\.memory\.offsets: .* of shape \[1\]"),
            ({"added_classes": ["eight"] * 2}, r"config\.json: memory\.added_classes: expected distinct names"),
            ({"num_keys": "many"}, r"config\.json: memory\.num_keys: expected 0 or an integer in 1…\d+, got 'many'"),
            ({"num_keys": 10**12}, r"config\.json: memory\.num_keys: expected 0 or an integer in 1…16777216, got 10+"),
        ],
    )
    def test_damaged(
        self, grown: ImageClassificationModel, tmp_path: Path, change: dict[str, object], expected: str
    ) -> None:
        grown.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["memory"] |= change
        del config["settings_sha256"]
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelFileError, match=expected):
            ImageClassificationModel.from_pretrained(tmp_path)

    @pytest.mark.parametrize("number", [-2, 0, 7])
    def test_examples_of_no_class(self, grown: ImageClassificationModel, tmp_path: Path, number: int) -> None:
        memory = copy.deepcopy(grown).classifier.memory
        memory.added[memory.added == 1] = number
        grown.classifier.memory = memory
        grown.save_pretrained(tmp_path)
        with pytest.raises(ModelFileError, match=r"classifier\.memory\.added: expected keys of training"):
            ImageClassificationModel.from_pretrained(tmp_path)


def test_embeddings_of_images(untouched: ImageClassificationModel, known: Split) -> None:
    model, images = copy.deepcopy(untouched), known.images[:20]
    with torch.no_grad():
        expected = model.embed(model.vision.batch(images))
    came = model.train().embed_images(images)
    assert came.shape == (20, 16)
    assert torch.equal(came, expected)
    assert not came.requires_grad
    torch.testing.assert_close(model.embed_images(list(images), batch_size=3), expected, rtol=0, atol=1e-5)
