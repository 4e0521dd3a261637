import numpy as np
import pytest
import torch
from PIL import Image

from grapheme_pyg import VisionBrain
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import ImageDataset, ImageFiles, ImageSequenceDataset, load_image_folder, read_image

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
GREY = np.array([[0, 100, 255], [3, 2, 1]], np.uint8)


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_grey_and_colour(tmp_path):
    grey = saved(tmp_path, Image.fromarray(GREY), "grey.png")
    assert torch.equal(read_image(grey, 1), torch.from_numpy(GREY)[None])
    assert torch.equal(read_image(grey), torch.from_numpy(GREY).expand(3, 2, 3))
    colour = saved(tmp_path, Image.fromarray(RGB), "colour.png")
    assert torch.equal(read_image(colour), torch.from_numpy(RGB).movedim(-1, 0))
    assert torch.equal(read_image(colour, 1)[0], torch.from_numpy(np.asarray(Image.fromarray(RGB).convert("L")).copy()))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path, suffix):
    levels = np.array([[0, 127, 128, 257, 32768, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(levels), f"deep.{suffix}")
    assert read_image(path, 1).tolist() == [[[0, 0, 0, 1, 128, 255]]]


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert read_image(saved(tmp_path, image))[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 50], [200, 100, 50]]


def test_transparency_shows_white_paper(tmp_path):
    black = np.zeros((1, 3, 4), np.uint8)
    black[0, :, 3] = [0, 128, 255]
    path = saved(tmp_path, Image.fromarray(black), "alpha.png")
    assert read_image(path).tolist() == [[[255, 127, 0]]] * 3
    grey = saved(tmp_path, Image.fromarray(black).convert("LA"), "grey-alpha.png")
    assert read_image(grey, 1).tolist() == [[[255, 127, 0]]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    path = saved(tmp_path, palette, "palette-alpha.png", transparency=1)
    assert read_image(path, 1).tolist() == [[[0, 255]]]
    # One colour or one level may be the transparent one.
    colours = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    path = saved(tmp_path, colours, "colour-key.png", transparency=(1, 2, 3))
    assert read_image(path)[:, 0].T.tolist() == [[255] * 3, [9] * 3]
    path = saved(tmp_path, Image.fromarray(np.array([[7, 8]], np.uint8)), "grey-key.png", transparency=7)
    assert read_image(path, 1).tolist() == [[[255, 8]]]


def test_cmyk_and_bilevel(tmp_path):
    cyan = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert read_image(saved(tmp_path, cyan, "cyan.tif"))[:, 0, 0].tolist() == [0, 255, 255]
    bits = Image.fromarray(np.array([[True, False]]))
    assert read_image(saved(tmp_path, bits, "bits.png"), 1).tolist() == [[[255, 0]]]


def test_exif_turns_images_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    path = saved(tmp_path, Image.fromarray(GREY), "turned.png", exif=exif)
    assert torch.equal(read_image(path, 1)[0], torch.from_numpy(np.rot90(GREY, -1).copy()))


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("L", (2, 2), value) for value in (255, 0)]
    path = saved(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(path, 1).tolist() == [[[255, 255]] * 2]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: expected an image, got "):
        read_image(path)


def test_truncated_files_are_named(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB).resize((90, 90)), "cut.jpg")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.jpg: expected an image, got "):
        read_image(path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


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
    (tmp_path / "empty").mkdir()
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
    found = load_image_folder(folder)
    with pytest.raises(ValueError, match=r"b\.JPG: expected an image"):
        found.images[1]
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
    with pytest.raises(ValueError, match=r"expected pictures \(\.bmp, .* in folders of classes, got none"):
        load_image_folder(folder / "empty")
    with pytest.raises(ValueError, match="on_error: expected one of"):
        load_image_folder(folder, on_error="ignore")
    with pytest.raises(ValueError, match="in_channels: expected 1 or 3, got 2"):
        load_image_folder(folder, 2)
    with pytest.raises(ValueError, match=r"share: expected a number in \(0, 1\), got 1"):
        load_image_folder(folder).split(1)
    (folder / "cat/1.png").unlink()
    with pytest.raises(ValueError, match="class 'cat': expected at least two pictures to split, got 1"):
        load_image_folder(folder).split()


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


def test_what_the_file_system_says_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)
