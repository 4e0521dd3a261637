"""GraphemeClassifier in scikit-learn: arrays, lists, labels, searches, pipelines and scikit-learn's own checks."""

import datetime
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit

pytest.importorskip("sklearn", reason="an extra")

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from grapheme_pyg.sklearn import GraphemeClassifier

# Models that are trained on few tiny images often miss whole classes.
pytestmark = pytest.mark.filterwarnings(
    "ignore::grapheme_pyg.errors.TrainingWarning", "ignore::grapheme_pyg.errors.ImageWarning"
)
QUICK = {"preset": "tiny", "epochs": 1, "random_state": 0, "settings": {"device": "cpu"}}


@pytest.fixture(scope="module")
def digits():
    """300 digits of 8 × 8 pixels as rows of values in [0, 16], and their labels."""
    rows, labels = load_digits(return_X_y=True)
    return rows[:300], labels[:300]


@pytest.fixture(scope="module")
def few(digits):
    """The first 40 digits and their labels."""
    return digits[0][:40], digits[1][:40]


def test_cross_validation(digits):
    classifier = GraphemeClassifier("small", epochs=20, random_state=0, settings={"augment": False})
    scores = cross_val_score(classifier, *digits, cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.8


def test_search(few):
    search = GridSearchCV(GraphemeClassifier(**QUICK), {"epochs": [1, 2], "class_weight": [None, "balanced"]}, cv=2)
    search.fit(*few)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.get_params()["epochs"] == search.best_params_["epochs"]
    assert search.predict(few[0]).shape == (40,)


def test_it_is_what_fit_makes_of_the_same_images(few):
    rows, labels = few
    classifier = GraphemeClassifier(**QUICK | {"class_weight": "balanced", "model": {"dropout": 0.1}}).fit(rows, labels)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    torch.manual_seed(seed)
    model = ImageClassificationModel.from_preset("tiny", 10, dropout=0.1)
    images = torch.from_numpy(rows / 16 * 255).round().to(torch.uint8).view(-1, 8, 8)
    settings = TrainingSettings(seed=seed, epochs=1, class_weights="auto", device="cpu")
    fit(model, images, labels, settings=settings, verbose=False)
    assert np.array_equal(classifier.predict_proba(rows), model.predict(images).probabilities.numpy())


def test_pixels_in_rows_and_images(few):
    rows, labels = few
    expected = GraphemeClassifier(**QUICK).fit(rows, labels).predict_proba(rows)
    for same in (rows.reshape(-1, 8, 8), rows.reshape(-1, 8, 8, 1), (rows * 3 - 5).tolist(), torch.from_numpy(rows)):
        classifier = GraphemeClassifier(**QUICK).fit(same, labels)
        np.testing.assert_array_equal(classifier.predict_proba(same), expected)
        assert classifier.n_features_in_ == 64
        assert classifier.image_shape_[:2] == (8, 8)
    # uint8 always ranges from 0 to 255.
    assert GraphemeClassifier(**QUICK).fit(rows.astype(np.uint8), labels).levels_ == (0, 255)
    classifier = GraphemeClassifier(**QUICK, image_shape=(4, 16)).fit(rows, labels)
    assert (classifier.image_shape_, classifier.levels_) == ((4, 16), (0, 16))
    assert GraphemeClassifier(**QUICK).fit(rows[:, :60], labels).image_shape_ == (1, 60)
    with pytest.raises(ValueError, match=r"X: expected images of shape \(4, 16\), as in training, got \(8, 8\)"):
        classifier.predict(rows.reshape(-1, 8, 8))


def test_predictions_do_not_depend_on_the_other_images(few):
    rows, labels = few
    classifier = GraphemeClassifier(**QUICK).fit(rows, labels)
    np.testing.assert_allclose(
        np.vstack([classifier.predict_proba(row[None]) for row in rows]), classifier.predict_proba(rows), rtol=1e-5
    )
    # Values beyond those of training count as black and white.
    np.testing.assert_array_equal(
        classifier.predict_proba(np.where(rows == 16, 99, rows)), classifier.predict_proba(rows)
    )


def test_colour():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
    labels = ["a", "b", "c"] * 4
    classifier = GraphemeClassifier(**QUICK).fit(images, labels)
    assert classifier.model_.vision.in_channels == 3
    rows = GraphemeClassifier(**QUICK, image_shape=(6, 5, 3)).fit(images.reshape(12, -1), labels)
    np.testing.assert_array_equal(rows.predict_proba(images), classifier.predict_proba(images))
    grey = GraphemeClassifier(**QUICK, vision={"in_channels": 1}).fit(images, labels)
    assert grey.model_.vision.in_channels == 1


def test_lists_of_images_of_any_sizes():
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 256, (8 + i, 12), dtype=np.uint8) for i in range(8)]
    pictures = [Image.fromarray(array) for array in arrays]
    labels = np.arange(8) % 2
    classifier = GraphemeClassifier(**QUICK).fit(pictures, labels)
    assert not hasattr(classifier, "n_features_in_")
    objects = np.empty(8, object)
    objects[:] = arrays
    for same in (arrays, objects, [torch.from_numpy(array) for array in arrays]):
        np.testing.assert_array_equal(classifier.predict_proba(same), classifier.predict_proba(pictures))
    assert classifier.model_.vision.in_channels == 1
    with_colour = [*pictures[:7], pictures[7].convert("RGB")]
    assert GraphemeClassifier(**QUICK).fit(with_colour, labels).model_.vision.in_channels == 3
    assert cross_val_score(GraphemeClassifier(**QUICK), pictures, labels, cv=2).shape == (2,)
    with pytest.raises(ValueError, match="X: expected a list of images, as in training, got an array"):
        classifier.predict(np.zeros((2, 64)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier.fit(pictures, labels[:7])


class TestLabels:
    @pytest.mark.parametrize(
        "pair",
        [
            (7, -3),
            ("no", "yes"),
            (True, False),
            (0.0, 2.0),
            ((0, "a"), (1, "b")),
            (datetime.date(2001, 1, 2), datetime.date(2000, 1, 1)),
            (1, "1"),
            ("line\nbreak", "none"),
            (Ellipsis, int),
        ],
        ids=repr,
    )
    def test_any_hashable_ones(self, pair, few):
        labels = [pair[i % 3 > 0] for i in range(40)]
        classifier = GraphemeClassifier(**QUICK).fit(few[0], labels)
        found = classifier.predict(few[0])
        assert set(classifier.classes_.tolist()) == set(pair)
        assert found.shape == (40,)
        assert all(label in pair and type(label) in map(type, pair) for label in found.tolist())
        hits = [bool(label == other) for label, other in zip(labels, found.tolist(), strict=True)]
        assert classifier.score(few[0], labels) == pytest.approx(np.mean(hits))
        weights = np.arange(40)
        assert classifier.score(few[0], labels, weights) == pytest.approx(np.average(hits, weights=weights))

    def test_sorted_as_in_scikit_learn_or_in_order(self, few):
        for labels, classes in (
            (["b", "a"], ["a", "b"]),
            ([(2, 1), (1, 2)], [(1, 2), (2, 1)]),
            (["one", 1], ["one", 1]),
        ):
            assert GraphemeClassifier(**QUICK).fit(few[0], labels * 20).classes_.tolist() == classes

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0.5, 1] * 20, "Unknown label type"),
            ([np.nan, 1] * 20, "contains NaN"),
            (["a", None] * 20, "y: expected hashable labels, got None at position 1"),
            ([{}, 1] * 20, "y: expected hashable labels, got {} at position 0"),
            ([0, 1] * 19, "inconsistent numbers of samples"),
            (None, "y should be a 1d array"),
        ],
        ids=repr,
    )
    def test_others_are_refused(self, labels, message, few):
        with pytest.raises(ValueError, match=message):
            GraphemeClassifier(**QUICK).fit(few[0], labels)

    def test_a_column_is_taken_with_a_warning(self, few):
        with pytest.warns(DataConversionWarning, match="column-vector"):
            GraphemeClassifier(**QUICK).fit(few[0], few[1][:, None])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (8, 9)}, r"image_shape: expected \(height, width\) .* with 64 values, got \(8, 9\)"),
        ({"image_shape": (8, 4, 2)}, r"image_shape: expected \(height, width\) or \(height, width, 3\)"),
        ({"image_shape": 8}, "image_shape: expected .*, got 8"),
        ({"image_shape": (8.0, 8)}, "image_shape: expected a positive integer, got 8.0"),
        ({"class_weight": {11: 2.0}}, "class_weight: expected None, 'balanced' or a dict with keys in"),
        ({"class_weight": "auto"}, "class_weight: expected None, 'balanced' or a dict with keys in"),
        ({"preset": "huge"}, "preset: expected one of"),
        ({"epochs": 0}, "epochs: expected a positive integer, got 0"),
        ({"random_state": "x"}, "cannot be used to seed"),
    ],
    ids=str,
)
def test_arguments_are_checked_in_fit(arguments, message, few):
    classifier = GraphemeClassifier(**QUICK | arguments)
    with pytest.raises(ValueError, match=message):
        classifier.fit(*few)


def test_weights_of_classes_by_label(few):
    rows, labels = few
    weighted = [
        GraphemeClassifier(**QUICK, class_weight=weights).fit(rows, labels).predict_proba(rows)
        for weights in (None, {3: 1.0}, {3: 50.0})
    ]
    np.testing.assert_array_equal(weighted[0], weighted[1])
    assert weighted[2][:, 3].mean() > weighted[0][:, 3].mean()


def test_seeds(few):
    rows, labels = few
    before = torch.random.get_rng_state()
    same = [GraphemeClassifier(**QUICK).fit(rows, labels).predict_proba(rows) for _ in range(2)]
    other = GraphemeClassifier(**QUICK | {"random_state": 1}).fit(rows, labels).predict_proba(rows)
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_pipelines_copies_and_pickles(few):
    rows, labels = few
    pipeline = make_pipeline(MinMaxScaler(), GraphemeClassifier(**QUICK)).fit(rows, labels)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(rows), pipeline.predict_proba(rows))
    copy = clone(pipeline[-1])
    assert copy.get_params() == pipeline[-1].get_params()
    with pytest.raises(NotFittedError):
        copy.predict(rows)


# All checks pass. A tag excludes those of accuracy on tables, which are not images. Arrays of other libraries are
# tested only if the environment requests it.
@pytest.mark.slow
def test_scikit_learns_own_checks():
    results = check_estimator(GraphemeClassifier("tiny", epochs=1), on_skip=None)
    others = [result["check_name"] for result in results if result["status"] != "passed"]
    assert others in ([], ["check_array_api_input"])
