import pytest
import torch
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import TrainingWarning
from grapheme_pyg.training.lost_classes import coinciding_classes

NAMES = ["zero", "one", "two"]


def train(training: Split, validation: Split | None, **settings: object) -> ImageClassificationModel:
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", NAMES)
    common = {"epochs": 1, "batch_size": 32, "device": "cpu", "augment": False}
    fit(model, *training, validation=validation, settings=TrainingSettings(**common | settings), verbose=False)
    return model


@pytest.fixture
def few(small_digits: Split) -> Split:
    """Zeros, ones and twos."""
    some = small_digits.labels < 3
    return Split(small_digits.images[some], small_digits.labels[some])


class TestTemplates:
    def test_by_hand(self) -> None:
        # The second template of class 0 is as the first of class 2 but longer; class 1 has two equal ones.
        templates = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[-1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
        assert coinciding_classes(templates).tolist() == [[0, 2]]

    @pytest.mark.parametrize(("angle", "same"), [(0.0, True), (1e-3, True), (2e-3, False)])
    def test_how_near(self, angle: float, same: bool) -> None:
        # cos 0.001 = 1 − 5·10⁻⁷, cos 0.002 = 1 − 2·10⁻⁶.
        turned = torch.tensor([angle]).double()
        templates = torch.stack([torch.tensor([[1.0, 0.0]]).double(), torch.cat([turned.cos(), turned.sin()])[None]])
        assert (len(coinciding_classes(templates)) == 1) is same

    def test_unset_ones_coincide_with_none(self) -> None:
        assert coinciding_classes(torch.zeros(3, 2, 4)).tolist() == []

    def test_each_pair_once_of_many(self) -> None:
        # More templates than are compared at once; all of one direction.
        assert len(coinciding_classes(torch.ones(270, 2, 3))) == 270 * 269 / 2

    def test_pairs_across_what_is_compared_at_once(self) -> None:
        templates = torch.eye(700).view(350, 2, 700)
        templates[[0, 255, 256, 349], [0, 1, 1, 0]] = templates[3, 1].clone()
        assert coinciding_classes(templates).tolist() == [
            [0, 3], [0, 255], [0, 256], [0, 349], [3, 255], [3, 256], [3, 349], [255, 256], [255, 349], [256, 349],
        ]  # fmt: skip


class TestTraining:
    def test_a_class_that_is_never_recognised(self, few: Split) -> None:
        # Nothing but zeros is learned; twos are not even looked for.
        zeros, others = few.labels == 0, few.labels < 2
        validation = Split(few.images[others], few.labels[others])
        ones = int((few.labels == 1).sum())
        expected = rf"validation: expected some images .* got none of 'one' \(of {ones}\)$"
        with pytest.warns(TrainingWarning, match=expected) as found:
            train(Split(few.images[zeros], few.labels[zeros]), validation, epochs=3, batch_size=8)
        # Making the model is part of this, of which PyG has warnings of its own on Python 3.13.
        (ours,) = [one for one in found if issubclass(one.category, TrainingWarning)]
        assert ours.filename == __file__

    def test_a_thousand_to_one(self, few: Split) -> None:
        zeros, ones = few.images[few.labels == 0][:40], few.images[few.labels == 1]
        images, labels = torch.cat([zeros.repeat(25, 1, 1), ones[:1]]), torch.tensor([0] * 1000 + [1])
        validation = Split(torch.cat([zeros[:5], ones[1:4]]), torch.tensor([0] * 5 + [1] * 3))
        with pytest.warns(TrainingWarning, match=r"got none of 'one' \(of 3\)"):
            model = train(Split(images, labels), validation, batch_size=100)
        assert finite(model)
        assert model.predict(validation.images).probabilities.isfinite().all()

    def test_templates_that_coincide(self, few: Split) -> None:
        torch.manual_seed(0)
        model = ImageClassificationModel.from_preset("tiny", NAMES)
        with torch.no_grad():
            model.classifier.templates[2] = 3 * model.classifier.templates[0]
        settings = TrainingSettings(epochs=1, device="cpu", freeze=("classifier",))
        with pytest.warns(TrainingWarning, match="templates: .* got the same for 'zero' and 'two'$") as found:
            fit(model, *few, settings=settings, verbose=False)
        assert len(found) == 1

    def test_many_are_not_all_named(self, few: Split) -> None:
        model = ImageClassificationModel.from_preset("tiny", 10)
        with torch.no_grad():
            model.classifier.templates.fill_(1)
        settings = TrainingSettings(epochs=1, device="cpu", freeze=("classifier",))
        with pytest.warns(TrainingWarning, match="'0' and '1', '0' and '2', .* and 35 more$"):
            fit(model, few.images[:10], few.labels[:10], settings=settings, verbose=False)

    def test_healthy_training_is_quiet(self, few: Split) -> None:
        model = train(few, few, epochs=4, batch_size=16)  # a warning would be an error, as in all tests
        assert (model.predict(few.images).probabilities.argmax(dim=1) == few.labels).double().mean() > 0.8


def finite(model: ImageClassificationModel) -> bool:
    return all(bool(value.isfinite().all()) for value in model.state_dict().values() if isinstance(value, Tensor))
