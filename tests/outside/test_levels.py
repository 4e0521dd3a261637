"""Grey levels that do not go from 0 to 255: scaled where it is certain, said where it is not."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_image_folder, read_image
from grapheme_pyg.errors import ImageError, ImageWarning, TrainingWarning
from grapheme_pyg.vision.pil_images import used_white

BAR = np.zeros((28, 28), bool)
BAR[4:24, 12:16] = True


@pytest.fixture
def model() -> ImageClassificationModel:
    """A model that takes levels as they are, as those of 0.1 do."""
    return ImageClassificationModel.from_preset("tiny", 2, vision={"relative": False}).eval()


@pytest.mark.parametrize("image", [BAR, torch.from_numpy(BAR), Image.fromarray(BAR)], ids=["array", "tensor", "PIL"])
def test_masks_of_truth_values_are_black_and_white(image: object) -> None:
    """plantcv#1804."""
    expected = VisionBrain()(BAR.astype(np.uint8) * 255)
    assert torch.equal(VisionBrain()(image).x, expected.x)


@pytest.mark.parametrize("white", [1, 16])
def test_bytes_that_end_far_below_white_are_warned_of(model: ImageClassificationModel, white: int) -> None:
    """plantcv#1804: cv2.threshold(…, 1), load_digits."""
    dark = BAR.astype(np.uint8) * white
    message = f"got none above {white}, .* if {white} is white, make it images \\* {255 / white:.3g}"
    for call in (lambda: model.vision(dark), lambda: model.vision.batch([dark]), lambda: model.predict([dark])):
        with pytest.warns(ImageWarning, match=message):
            call()
    with pytest.warns() as found:
        fit(model, np.stack([dark] * 4), [0, 1, 0, 1], settings=TrainingSettings(epochs=1), verbose=False)
    assert {warning.category for warning in found} <= {ImageWarning, TrainingWarning}
    assert any("single node" in str(warning.message) for warning in found)


def test_levels_relative_to_the_ground_may_end_anywhere() -> None:
    """plantcv#1804: load_digits has levels of 0…16. Of less contrast than that nothing can be made."""
    relative = ImageClassificationModel.from_preset("tiny", 2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        white, dark = (relative.predict([BAR.astype(np.uint8) * level] * 10).similarities for level in (255, 16))
    assert torch.equal(white, dark)
    with pytest.warns(ImageWarning, match="got none above 1, "):
        relative.predict([BAR.astype(np.uint8)])


def test_one_image_may_be_darker_than_several(model: ImageClassificationModel) -> None:
    """plantcv#1804: percentages, and bytes of six bits, have contrast, but are far from what a model knows."""
    dark = [BAR.astype(np.uint8) * 100] * 10
    with pytest.warns(ImageWarning, match="got none above 100, .* if 100 is white, make it images \\* 2.55"):
        model.predict(dark)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(dark[:1])


def test_floats_that_are_not_in_the_unit_interval_are_told_to_divide_by_white() -> None:
    """plantcv#1804: the advice must not lead to bytes of 0…16."""
    with pytest.raises(ImageError, match=r"got 16.0; .* then divide by 255, or by whatever level is white"):
        VisionBrain()(BAR * 16.0)


def test_images_without_contrast_are_warned_of(model: ImageClassificationModel) -> None:
    """plantcv#1804: whatever the reason, a set of blank images is no set."""
    blank = torch.full((20, 28, 28), 128, dtype=torch.uint8)
    with pytest.warns(ImageWarning, match="got 20 of 20 images whose graphs have a single node"):
        model.predict(blank)
    with pytest.warns(ImageWarning, match="got 19 of 20 images whose graphs have a single node"):
        model.embed_images([*blank[1:], BAR])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(blank[:1])  # an empty page is an empty page
        model.predict([*blank[2:], BAR, BAR])


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_sixteen_bit_files_that_use_fewer_are_scaled_and_told_of_once(tmp_path: Path, bits: int) -> None:
    """Pillow#5991."""
    white = 2**bits - 1
    levels = np.where(BAR, white, white // 3).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    with pytest.warns(ImageWarning, match=f"use {bits} bits only: {white:,} is taken for white"):
        found = read_image(tmp_path / "deep.png", 1)
    assert found.unique().tolist() == [round(255 * (white // 3) / white), 255]


@pytest.mark.parametrize(
    ("highest", "white"), [(0, 65_535), (1, 255), (255, 255), (256, 511), (4095, 4095), (16_384, 65_535)]
)
def test_white_is_the_largest_level_of_the_bits_in_use(highest: int, white: int) -> None:
    assert used_white(highest) == white


# Dim pictures stay dim.
@pytest.mark.filterwarnings("ignore:images. expected levels")
def test_a_folder_has_one_white_for_all_of_its_files(tmp_path: Path) -> None:
    """Pillow#5991: by the range that the data set uses, told once; a dark picture stays dark."""
    for name, level in (("a/1", 4095), ("a/2", 1000), ("b/1", 4000), ("b/2", 400)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.where(BAR, level, 0).astype(np.uint16)).save(path)
    with pytest.warns(ImageWarning, match="16-bit pictures use 12 bits only: 4,095 is taken for white in all") as told:
        folder = load_image_folder(tmp_path, 1)
    assert len(told) == 1
    assert [int(image.max()) for image in folder.images] == [255, 62, 249, 25]
    # A model that was made for it takes single images as bright as those.
    vision = VisionBrain(white=folder.images.white)
    with Image.open(tmp_path / "b/2.png") as dim:
        assert torch.equal(vision(read_image(tmp_path / "b/2.png", 1, white=vision.white)).x, vision(dim).x)


@pytest.mark.filterwarnings("ignore:images. expected levels")
def test_a_model_keeps_the_white_of_its_training(tmp_path: Path) -> None:
    """Pillow#5991: predictions of a dim file and of the folder that it is in are the same."""
    model = ImageClassificationModel.from_preset("tiny", 2, vision={"white": 4095})
    model.save_pretrained(tmp_path)
    assert ImageClassificationModel.from_pretrained(tmp_path).vision.white == 4095
    dim = Image.fromarray(np.where(BAR, 1000, 0).astype(np.uint16))
    bright = [Image.fromarray(np.where(BAR, 4095, 0).astype(np.uint16))] * 2
    alone, among = model.eval().predict([dim]).probabilities, model.predict([dim, *bright]).probabilities[:1]
    torch.testing.assert_close(alone, among)


def test_pgm_files_say_what_is_white(tmp_path: Path) -> None:
    """Pillow#5991: two levels of at most 1023."""
    (tmp_path / "dim.pgm").write_bytes(b"P5 2 1 1023\n\0\0\0\x3c")
    assert read_image(tmp_path / "dim.pgm", 1).tolist() == [[[0, 15]]]


def test_tiff_files_say_how_many_bits_they_use(tmp_path: Path) -> None:
    """Pillow#5991: two levels of 12 bits, 0xFFF and 0x800, packed into three bytes."""
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags.items())
    pixels = b"\xff\xf8\x00\x00"
    content = b"II*\0" + struct.pack("<I", 12) + pixels + struct.pack("<H", len(tags)) + directory + bytes(4)
    (tmp_path / "twelve.tif").write_bytes(content)
    assert read_image(tmp_path / "twelve.tif", 1).tolist() == [[[255, 128]]]
