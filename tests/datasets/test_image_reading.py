import io
import os
import warnings

import numpy as np
import pytest
import torch
from odd_images import chunk, png, tiff
from PIL import Image
from systems import needs_posix

from grapheme_pyg.datasets import read_image
from grapheme_pyg.errors import ImageError

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
GREY = np.array([[0, 100, 255], [3, 2, 1]], np.uint8)


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def written(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
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
    with pytest.raises(ImageError, match=r"broken\.png: expected an image, got "):
        read_image(path)


def test_truncated_files_are_named(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB).resize((90, 90)), "cut.jpg")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ImageError, match=r"cut\.jpg: expected an image, got "):
        read_image(path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


def test_what_the_file_system_says_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX", "PDF", "JPEG2000"])
def test_other_formats_are_not_tried(tmp_path, kind):
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, kind)
    path = written(tmp_path, file.getvalue(), "picture.png")
    with pytest.raises(ImageError, match=r"picture\.png: expected an image, got \d+ bytes of none of BMP, GIF, "):
        read_image(path)


def test_too_many_pixels_are_refused_by_the_header(tmp_path):
    whole = png(8_000, 8_000)
    # Of the pixels there is nothing: who decoded would say so.
    path = written(tmp_path, whole[: whole.index(b"IDAT") + 4], "bomb.png")
    with pytest.raises(ImageError, match=r"bomb\.png: expected at most 50,000,000 pixels .*, got 8000 by 8000"):
        read_image(path)
    path = saved(tmp_path, Image.fromarray(RGB))
    assert read_image(path, max_pixels=6).shape == (3, 2, 3)
    with pytest.raises(ImageError, match=r"image\.png: expected at most 5 pixels \(max_pixels\), got 3 by 2"):
        read_image(path, max_pixels=5)


def test_texts_scans_and_tiles_have_limits(tmp_path):
    texts = [chunk(b"tEXt", b"a\0" + bytes(1_000))] * 9
    assert read_image(written(tmp_path, png(8, 8, *texts), "texts.png"), 1).shape == (1, 8, 8)
    texts = [chunk(b"zTXt", bytes(2_000))] * 17
    with pytest.raises(ImageError, match=r"text\.png: expected texts of at most 16,777,216 .*, got up to 17,825,792"):
        read_image(written(tmp_path, png(8, 8, *texts), "text.png"))
    path = saved(tmp_path, Image.new("RGB", (8, 8)), "scans.jpg", progressive=True)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    path = written(tmp_path, content[:-2] + 300 * content[last:-2] + content[-2:], "scans.jpg")
    with pytest.raises(ImageError, match=r"scans\.jpg: expected at most 256 scans, got 310"):
        read_image(path)
    tiles = tiff(np.random.default_rng(0), _322=20_000, _323=20_000, _324=8, _325=64)
    with pytest.raises(ImageError, match=r"tiles of at most 1,048,576 pixels or .*, got 20000 by 20000"):
        read_image(written(tmp_path, tiles, "tiles.tiff"))


def test_warnings_of_pillow_are_not_shown(tmp_path):
    # A file of 100 million pixels, at which Pillow warns.
    path = written(tmp_path, png(10_000, 10_000)[:41], "warned.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="warned"):
            read_image(path)


def test_a_broken_orientation_says_nothing(tmp_path):
    content = png(8, 16, chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\x01\x12"))
    assert read_image(written(tmp_path, content, "exif.png"), 1).shape == (1, 16, 8)


def test_a_transparent_level_of_sixteen_bits_is_paper(tmp_path):
    levels = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    assert read_image(saved(tmp_path, levels, transparency=257), 1).tolist() == [[[0, 255, 255]]]


def test_floats(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "floats.tiff")
    assert read_image(path, 1).tolist() == [[[0, 128, 255]]]
    path = saved(tmp_path, Image.fromarray(np.array([[0, np.nan]], np.float32)), "nan.tiff")
    with pytest.raises(ImageError, match=r"nan\.tiff: expected float values in \[0, 1\], got nan"):
        read_image(path)


@needs_posix
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: expected a regular file, got a pipe"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="max_pixels: expected a positive integer, got 0"):
        read_image(tmp_path / "none.png", max_pixels=0)
    with pytest.raises(ValueError, match="in_channels: expected 1 or 3, got 2"):
        read_image(tmp_path / "none.png", 2)
