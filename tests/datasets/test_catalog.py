"""Data sets by name: the built-in ones, those that users register, and those of installed packages."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch

from grapheme_pyg.cli.data import load, load_test
from grapheme_pyg.datasets import ImageData, Split, catalog, dataset_names, load_dataset, register_dataset
from grapheme_pyg.datasets.mnist_specs import SPECS

SEEN = []


def stripes(data_dir=None):
    """Twelve images for training and four for the test, in colour; class 1 has its stripes across."""
    SEEN.append(data_dir)
    images = torch.zeros(16, 3, 6, 6, dtype=torch.uint8)
    images[::2, :, ::2], images[1::2, :, :, ::2] = 255, 255
    labels = torch.arange(16) % 2
    return ImageData("stripes", Split(images[:12], labels[:12]), Split(images[12:], labels[12:]), ("along", "across"))


@pytest.fixture(autouse=True)
def loaders(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(catalog, "_loaders", dict(catalog._loaders))
    SEEN.clear()


def test_built_in_sets_are_registered():
    assert set(dataset_names()) >= {*SPECS, "mnist5k", "cifar10", "omniglot"}
    assert load_dataset("mnist5k").name == "mnist5k"


def test_a_registered_set_is_loaded_by_its_name(tmp_path):
    register_dataset("my-stripes", stripes)
    assert "my-stripes" in dataset_names()
    assert torch.equal(load_dataset("my-stripes", str(tmp_path)).train.labels, torch.arange(12) % 2)
    assert [tmp_path] == SEEN
    # As the commands load it.
    data = load("my-stripes", None, 3)
    assert (data.name, data.classes, data.size) == ("stripes", ["along", "across"], 6)
    assert [len(part.labels) for part in (data.training, data.validation, data.test)] == [11, 1, 4]
    part = load_test("my-stripes", ["across", "along"], None, 3, transposed=True)
    assert torch.equal(part.images, stripes().test.images.mT)
    assert part.labels.tolist() == [1, 0, 1, 0]


def test_a_set_of_an_installed_package_is_found(monkeypatch):
    offered = EntryPoints([EntryPoint("offered", f"{__name__}:stripes", catalog.GROUP)])
    monkeypatch.setattr(catalog, "entry_points", offered.select)
    assert "offered" in dataset_names()
    assert [load_dataset("offered").name for _ in range(2)] == ["stripes", "stripes"]
    monkeypatch.setattr(catalog, "entry_points", EntryPoints([*offered] * 2).select)
    monkeypatch.delitem(catalog._loaders, "offered")
    with pytest.raises(ValueError, match=r"^name: expected one that no data set has yet, got 'offered'$"):
        load_dataset("offered")


@pytest.mark.parametrize(
    ("name", "loader", "message"),
    [
        ("mnist", stripes, "^name: expected one that no data set has yet, got 'mnist'$"),
        ("", stripes, "^name: expected letters, digits, _ and -, got ''$"),
        ("a/b", stripes, "^name: expected letters, digits, _ and -, got 'a/b'$"),
        (7, stripes, "^name: expected letters, digits, _ and -, got 7$"),
        ("mine", "stripes", "^loader: expected a function that takes a folder, got str$"),
    ],
)
def test_duplicates_and_bad_names_are_refused(name, loader, message):
    with pytest.raises(ValueError, match=message):
        register_dataset(name, loader)


def test_what_cannot_be_loaded_is_said():
    with pytest.raises(ValueError, match=r"^name: expected one of cifar10, .*mnist5k.*, got 'nowhere'$"):
        load_dataset("nowhere")
    register_dataset("wrong", lambda data_dir: [1, 2])
    with pytest.raises(ValueError, match=r"^wrong: expected its loader to return ImageData, got list$"):
        load_dataset("wrong")
