import os

import numpy as np
import pytest
import torch
from PIL import Image
from systems import needs_linux, needs_posix

from grapheme_pyg import VisionBrain
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import ImageDataset, ImageFiles, ImageSequenceDataset, labelled_images, load_image_folder
from grapheme_pyg.errors import DatasetError, ImageError


@pytest.fixture
def folder(tmp_path):
    """Three birds of different sizes, one below a further folder, and two cats; and what is no picture."""
    for name, size in (
        ("bird/a.png", (4, 5)),
        ("bird/b.JPG", (6, 3)),
        ("bird/more/c.png", (1, 1)),
        ("cat/1.png", (4, 4)),
        ("cat/2.png", (7, 4)),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(path)
    (tmp_path / "cat/notes.txt").write_text("no picture")
    (tmp_path / "cat/.hidden.png").write_text("no picture")
    (tmp_path / ".git").mkdir()
    (tmp_path / "cat/.thumbnails").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "cat/.thumbnails/1.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "outside.png")
    return tmp_path


def test_a_folder_of_classes(folder):
    found = load_image_folder(folder)
    assert found.classes == ("bird", "cat")
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert [path.name for path in found.images.paths] == ["a.png", "b.JPG", "c.png", "1.png", "2.png"]
    assert [tuple(image.shape) for image in found.images] == [(3, 5, 4), (3, 3, 6), (3, 1, 1), (3, 4, 4), (3, 4, 7)]
    assert len(VisionBrain(in_channels=3).batch(found.images).to_data_list()) == len(found) == 5


def test_a_split_takes_the_last_of_each_class(folder):
    training, validation = load_image_folder(folder, 1).split(0.34)
    assert [path.name for path in training.images.paths] == ["a.png", "b.JPG", "1.png"]
    assert [path.name for path in validation.images.paths] == ["c.png", "2.png"]
    assert (training.labels.tolist(), validation.labels.tolist()) == ([0, 0, 1], [0, 1])
    assert training.images[0].shape == (1, 5, 4)


def test_broken_pictures_are_named_or_left_out_on_request(folder, caplog):
    (folder / "bird/b.JPG").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"can be read, got 1 that cannot, the first: .*b\.JPG: expected an image"):
        load_image_folder(folder)
    found = load_image_folder(folder, on_error="skip")
    assert [path.name for path in found.images.paths] == ["a.png", "c.png", "1.png", "2.png"]
    assert "b.JPG" in caplog.text


def test_slices_and_selections(folder):
    images = load_image_folder(folder).images
    assert isinstance(images[1:3], ImageFiles)
    assert images[1:3].paths == images.select(torch.tensor([1, 2])).paths


def test_what_is_refused(folder, tmp_path):
    with pytest.raises(NotADirectoryError, match="none: expected a folder with one folder for each class"):
        load_image_folder(folder / "none")
    with pytest.raises(DatasetError, match=r"\.git: expected pictures \(\.avif, .* in folders of classes, got none$"):
        load_image_folder(folder / ".git")
    with pytest.raises(NotADirectoryError, match=r"outside\.png: expected a folder .*, got a file"):
        load_image_folder(folder / "outside.png")
    with pytest.raises(ValueError, match="on_error: expected one of"):
        load_image_folder(folder, on_error="ignore")
    with pytest.raises(ValueError, match="in_channels: expected 1 or 3, got 2"):
        load_image_folder(folder, 2)
    with pytest.raises(ValueError, match=r"share: expected a number in \(0, 1\), got 1"):
        load_image_folder(folder).split(1)
    (folder / "cat/1.png").unlink()
    with pytest.raises(ValueError, match="class 'cat': expected at least two pictures to split, got 1"):
        load_image_folder(folder).split()


def test_colour_is_found_and_tinted_paper_has_none(tmp_path):
    grey = np.random.default_rng(0).integers(0, 200, (40, 40), dtype=np.uint8)
    tinted = np.stack([grey + 50, grey + 40, grey + 20], axis=2)
    coloured = np.stack([grey, grey.T, 255 - grey], axis=2)
    (tmp_path / "one").mkdir()
    for i in range(20):
        Image.fromarray(tinted).save(tmp_path / f"one/{i:02}.jpg", quality=60)
    found = load_image_folder(tmp_path)
    assert not found.in_colour()
    assert found.with_channels(1).images[0].shape == (1, 40, 40)
    assert found.images.in_channels == 3
    for i in (7, 13):
        Image.fromarray(coloured).save(tmp_path / f"one/{i:02}.jpg")
    assert load_image_folder(tmp_path).in_colour()


def test_pictures_are_augmented_as_tensors_are(folder):
    found = load_image_folder(folder)
    augment = RandomWarp(flip=0.5)
    dataset = ImageSequenceDataset(found.images, found.labels, augment=augment, seed=3)
    together, labels = dataset[[3, 0, 4, 1]]
    assert labels.tolist() == [1, 0, 1, 0]
    for image, i in zip(together, (3, 0, 4, 1), strict=True):
        alone, label = dataset[i]
        assert torch.equal(image, alone)
        assert label == found.labels[i]
        assert image.shape == found.images[i].shape
    same = torch.randint(256, (6, 3, 9, 8), dtype=torch.uint8)
    one = ImageDataset(same, torch.zeros(6, dtype=torch.int64), augment=augment, seed=1)
    other = ImageSequenceDataset(list(same), torch.zeros(6, dtype=torch.int64), augment=augment, seed=1)
    assert torch.equal(one[[2, 5]][0], torch.stack(other[[2, 5]][0]))


def test_files_are_read_once_as_far_as_there_is_room(folder, monkeypatch):
    found = load_image_folder(folder)
    monkeypatch.setattr(labelled_images, "KEPT", found.images[3].numel())
    dataset = ImageSequenceDataset(found.images, found.labels)
    before = [dataset[i][0] for i in (3, 0)]
    for path in found.images.paths:
        path.unlink()
    assert torch.equal(dataset[3][0], before[0])
    with pytest.raises(OSError, match="No such file"):
        dataset[0]


def test_a_class_without_pictures_is_named_or_left_out_on_request(folder, caplog):
    (folder / "bee").mkdir()
    (folder / "bee/notes.txt").write_text("no picture")
    with pytest.raises(DatasetError, match=r"bee: expected pictures .*, got none in this one"):
        load_image_folder(folder)
    found = load_image_folder(folder, on_error="skip")
    assert found.classes == ("bird", "cat")
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert "bee: expected pictures, got none" in caplog.text


@needs_posix
def test_links_to_folders_are_not_followed(folder):
    (folder / "bird/again").symlink_to(folder / "bird")
    (folder / "bird/up").symlink_to(folder)
    assert len(load_image_folder(folder)) == 5


@pytest.mark.parametrize("kind", ["loop", "nowhere", "pipe"])
@needs_posix
def test_what_is_named_like_a_picture_must_be_a_file(folder, caplog, kind):
    path = folder / "cat/3.png"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(path if kind == "loop" else folder / "none.png")
    with pytest.raises(DatasetError, match=r"cat/3\.png: expected a file, got a dangling link"):
        load_image_folder(folder)
    assert len(load_image_folder(folder, on_error="skip")) == 5
    assert "3.png" in caplog.text


@needs_linux
def test_names_that_are_not_utf_8(folder):
    (folder / os.fsdecode(b"cat/\xff.png")).write_bytes((folder / "cat/1.png").read_bytes())
    found = load_image_folder(folder)
    assert torch.equal(found.images[5], found.images[3])
    (folder / os.fsdecode(b"dog\xff")).mkdir()
    with pytest.raises(DatasetError, match=r"expected names of classes in UTF-8, got b'dog\\xff'"):
        load_image_folder(folder)


@pytest.mark.parametrize("which", [".", "bird/more"])
def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch, which):
    # Whoever runs this as root may read everything.
    closed, listdir, scandir = str((folder / which).resolve()), os.listdir, os.scandir

    def refusing(function):
        def listed(path):
            if os.path.realpath(path) == closed:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)

        return listed

    monkeypatch.setattr(os, "listdir", refusing(listdir))
    monkeypatch.setattr(os, "scandir", refusing(scandir))
    with pytest.raises(DatasetError, match=f"{closed}: expected a folder that can be read, got Permission denied"):
        load_image_folder(folder)


def test_the_limit_on_pixels_goes_with_slices_and_selections(folder):
    with pytest.raises(DatasetError, match=r"2\.png: expected at most 20 pixels \(max_pixels\), got 7 by 4"):
        load_image_folder(folder, max_pixels=20)
    images = ImageFiles(load_image_folder(folder).images.paths, max_pixels=20)
    assert images[0].shape == (3, 5, 4)
    for part in (images, images[4:], images.select([0, 4])):
        with pytest.raises(ImageError, match=r"2\.png: expected at most 20 pixels \(max_pixels\), got 7 by 4"):
            part[-1]
    small = load_image_folder(folder, on_error="skip", max_pixels=20)
    assert [path.name for path in small.images.paths] == ["a.png", "b.JPG", "c.png", "1.png"]
