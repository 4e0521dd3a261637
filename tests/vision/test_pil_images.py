import io

import numpy as np
import pytest
import torch
from PIL import Image

from grapheme_pyg import VisionBrain
from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.pil_images import from_pil

# One pixel of each mode, and what it shows.
PIXELS = {
    "1": (1, 255),
    "L": (77, 77),
    "LA": ((0, 128), 127),
    "RGB": ((1, 2, 33), [1, 2, 33]),
    "RGBA": ((255, 0, 0, 0), [255, 255, 255]),
    "CMYK": ((255, 0, 0, 0), [0, 255, 255]),
    "YCbCr": ((255, 128, 128), [255, 255, 255]),
    "HSV": ((0, 255, 255), [255, 0, 0]),
    "LAB": ((255, 128, 128), [255, 255, 255]),
    "I": (65_535, 255),
    "I;16": (257 * 99, 99),
    "I;16L": (257 * 99, 99),
    "I;16B": (257 * 99 + 129, 100),
    "F": (0.25, 0.25),
}


@pytest.mark.parametrize("mode", PIXELS)
def test_every_mode_shows_what_it_means(mode):
    value, shown = PIXELS[mode]
    if mode.startswith("I;16"):
        data = np.full((2, 3), value, ">u2" if mode.endswith("B") else "<u2").tobytes()
        image = Image.frombytes(mode, (3, 2), data)
    else:
        image = Image.new(mode, (3, 2), value)
    found = from_pil(image)
    assert found.shape[:2] == (2, 3)
    # Of LAB, colour management rounds on the way.
    np.testing.assert_allclose(found[1, 2].tolist(), shown, rtol=0, atol=mode == "LAB")
    assert VisionBrain(in_channels=3)(image).image_size.tolist() == [[2, 3]]


def test_premultiplied_alpha():
    grey = Image.new("LA", (1, 1), (0, 128))
    assert from_pil(grey.convert("La")).tolist() == [[127]]
    colour = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert from_pil(colour.convert("RGBa")).tolist() == [[[127, 127, 127]]]


def test_palettes_with_transparency():
    image = Image.new("PA", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), (1, 255))
    image.putpixel((1, 0), (1, 0))
    assert from_pil(image).tolist() == [[[200, 100, 50], [255, 255, 255]]]


def test_sixteen_bits_keep_their_levels():
    levels = np.arange(0, 65_536, 257, dtype=np.uint16)[None]
    image = Image.fromarray(levels)
    assert from_pil(image).tolist() == [list(range(256))]
    assert np.count_nonzero(np.asarray(image.convert("L")) == 255) == 255  # what Pillow makes of them


def test_images_that_a_camera_held_sideways(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.array([[0, 100, 255], [3, 2, 1]], np.uint8))
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        assert VisionBrain()(opened).image_size.tolist() == [[3, 2]]
        assert from_pil(opened).tolist() == [[3, 0], [2, 100], [1, 255]]


def test_files_that_are_read_late(tmp_path):
    file = io.BytesIO()
    Image.effect_noise((90, 90), 50).save(file, "PNG")
    with (
        Image.open(io.BytesIO(file.getvalue()[:900])) as opened,
        pytest.raises(ImageError, match=r"^images\[1\]: expected an image, got OSError: "),
    ):
        VisionBrain().batch([Image.new("L", (2, 2)), opened])
    with (
        Image.open(file) as opened,
        pytest.raises(ImageError, match=r"^picture: expected at most 100 pixels \(max_pixels\), got 90 by 90"),
    ):
        from_pil(opened, "picture", max_pixels=100)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32])
def test_brains_do_not_copy_what_they_are_given(dtype):
    # Copying such tensors, as the base class does, fails.
    with pytest.raises(ImageError, match=r"image: expected uint8, or float in \[0, 1\], got dtype torch.uint"):
        VisionBrain()(torch.zeros(4, 4, dtype=dtype))
    # And copying an image of Pillow loses what its file says beside the pixels.
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "PNG", transparency=0)
    with Image.open(file) as opened:
        assert from_pil(opened).tolist() == [[255, 255]] * 2
