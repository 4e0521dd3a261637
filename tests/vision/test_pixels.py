import io
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.image_batches import to_pixel_batch
from grapheme_pyg.vision.pixels import to_pixels

# Two rows and three columns, so that no confusion of axes goes unseen.
GREY = np.array([[0, 1, 128], [254, 255, 77]], dtype=np.uint8)
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)


@pytest.fixture(autouse=True)
def every_warning():
    """Torch shows most of its warnings once per process, which would hide all but the first."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def in_floats(array):
    tensor = torch.from_numpy(array)
    kinds = {"uint8": tensor}
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        kinds[str(dtype).removeprefix("torch.")] = (tensor.double() / 255).to(dtype)
    return kinds


def kinds_of_grey(array):
    yield "PIL L", Image.fromarray(array)
    for dtype, tensor in in_floats(array).items():
        yield f"tensor [H, W] {dtype}", tensor
        yield f"tensor [1, H, W] {dtype}", tensor[None]
        yield f"tensor, strided {dtype}", tensor.t().contiguous().t()
        if dtype != "bfloat16":
            yield f"array [H, W] {dtype}", tensor.numpy()
            yield f"array [H, W, 1] {dtype}", tensor.numpy()[..., None]
            yield f"array, strided {dtype}", np.asfortranarray(tensor.numpy())


def kinds_of_colour(array):
    yield "PIL RGB", Image.fromarray(array)
    for dtype, tensor in in_floats(array).items():
        yield f"tensor {dtype}", tensor.movedim(-1, 0).contiguous()
        yield f"tensor, strided {dtype}", tensor.movedim(-1, 0)
        if dtype != "bfloat16":
            yield f"array {dtype}", tensor.numpy()


def by_name(pairs):
    return [pytest.param(image, id=name) for name, image in pairs]


@pytest.mark.parametrize("image", by_name(kinds_of_grey(GREY)))
def test_every_kind_of_grey_image_gives_the_same_pixels(image):
    pixels = to_pixels(image, 1)
    assert pixels.dtype == torch.uint8
    assert pixels.tolist() == [[[0, 1, 128], [254, 255, 77]]]
    assert to_pixels(image, 3).tolist() == [[[0, 1, 128], [254, 255, 77]]] * 3


@pytest.mark.parametrize("image", by_name(kinds_of_colour(COLOUR)))
def test_every_kind_of_colour_image_gives_the_same_pixels(image):
    pixels = to_pixels(image, 3)
    assert pixels.dtype == torch.uint8
    assert pixels.tolist() == [
        [[0, 1, 128], [254, 255, 77]],
        [[0, 0, 64], [127, 127, 38]],
        [[255, 254, 127], [1, 0, 178]],
    ]
    # (19595 R + 38470 G + 7471 B + 32768) // 65536 of these three.
    assert to_pixels(image, 1).tolist() == [[[29, 29, 90], [151, 151, 66]]]


def test_bilevel_image_is_black_and_white():
    image = Image.new("1", (3, 2))
    image.putpixel((2, 1), 1)
    assert to_pixels(image, 1).tolist() == [[[0, 0, 0], [0, 0, 255]]]


def test_image_from_a_file():
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, "PNG")
    assert torch.equal(to_pixels(Image.open(file), 3), to_pixels(COLOUR, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_read_only_array_gives_no_warning(channels):
    array = COLOUR.copy()[..., :channels]
    array.flags.writeable = False
    assert torch.equal(to_pixels(array, channels), to_pixels(COLOUR[..., :channels], channels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_all_256_values_agree_with_their_float(dtype):
    values = torch.arange(256, dtype=torch.uint8).view(16, 16)
    assert torch.equal(to_pixels((values.double() / 255).to(dtype), 1)[0], values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_inverted_float_is_the_inverted_integer(dtype):
    values = torch.arange(256, dtype=torch.uint8).view(16, 16)
    assert torch.equal(to_pixels(1 - (values.double() / 255).to(dtype), 1)[0], 255 - values)


def test_half_precision_is_rounded_by_its_value():
    # Every float16 in [0, 1]; 255·v is never rounded on the way, ties go to the even integer.
    values = torch.arange(0x3C01, dtype=torch.int16).view(torch.float16)
    expected = [round(255 * Fraction(value)) for value in values.tolist()]
    assert to_pixels(values[None], 1)[0, 0].tolist() == expected


def test_luma_is_that_of_pillow():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = torch.tensor(np.array(Image.fromarray(colour).convert("L")))
    assert torch.equal(to_pixels(colour, 1)[0], expected)


def test_grey_in_three_channels_has_itself_as_luma():
    grey = torch.arange(256, dtype=torch.uint8).view(16, 16)
    assert torch.equal(to_pixels(to_pixels(grey, 3), 1)[0], grey)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("shape", ["grey", "colour"])
@pytest.mark.parametrize("kind", ["tensor", "array", "list"])
def test_batches_hold_the_pixels_of_their_images(in_channels, shape, kind):
    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (4, 3, 5) if shape == "grey" else (4, 3, 5, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array if shape == "grey" else np.moveaxis(array, -1, 1))
    images = {"tensor": tensor, "array": array, "list": [Image.fromarray(image) for image in array]}[kind]
    (stack,), positions = to_pixel_batch(images, in_channels)
    assert positions == [0, 1, 2, 3]
    assert torch.equal(stack, torch.stack([to_pixels(image, in_channels) for image in array]))


def test_those_of_one_size_are_stacked():
    images = [torch.full(size, i / 255) for i, size in enumerate([(2, 3), (2, 3), (3, 2), (2, 3)])]
    stacks, positions = to_pixel_batch(images, 1)
    assert [list(stack.shape) for stack in stacks] == [[3, 1, 2, 3], [1, 1, 3, 2]]
    assert [stack[:, 0, 0, 0].tolist() for stack in stacks] == [[0, 1, 3], [2]]
    assert positions == [0, 1, 3, 2]


def holding(value, dtype=torch.float32):
    image = torch.full((4, 4), 0.5, dtype=dtype)
    image[2, 1] = value
    return image


BAD = {
    "nan": (holding(torch.nan), r"image: expected float values in \[0, 1\], got nan"),
    "inf": (holding(torch.inf), r"image: expected float values in \[0, 1\], got inf"),
    "-inf": (holding(-torch.inf).numpy(), r"image: expected float values in \[0, 1\], got -inf"),
    "negative": (holding(-0.125), r"image: expected float values in \[0, 1\], got -0.125"),
    "above 1": (holding(1.5), r"image: expected float values in \[0, 1\], got 1.5"),
    "just above 1": (holding(1 + 2**-52, torch.float64), r"image: expected float values in \[0, 1\], got 1.0"),
    "0…255": (torch.full((4, 4), 200.0), r"image: expected float values .*; is it in 0…255\?"),
    "no rows": (torch.zeros(0, 5), r"image: expected at least one pixel, got shape \(0, 5\)"),
    "no columns": (np.zeros((5, 0, 3)), r"image: expected at least one pixel, got shape \(5, 0, 3\)"),
    "no rows, PIL": (Image.new("L", (5, 0)), r"image: expected at least one pixel, got shape \(0, 5\)"),
    "2 channels": (torch.zeros(2, 4, 4), r"image: expected 1 or 3 channels .*\[C, H, W\], got \(2, 4, 4\)"),
    "4 channels": (np.zeros((4, 4, 4)), r"image: expected 1 or 3 channels .*\[H, W, C\], got \(4, 4, 4\)"),
    "tensor with channels last": (torch.zeros(4, 4, 3), r"image: expected 1 or 3 .*got \(4, 4, 3\)"),
    "array with channels first": (np.zeros((3, 4, 4)), r"image: expected 1 or 3 .*got \(3, 4, 4\)"),
    "1 dimension": (torch.zeros(4), r"image: expected shape \[H, W\] or \[C, H, W\], got \(4,\)"),
    "4 dimensions": (np.zeros((1, 4, 4, 3)), r"image: expected shape .*\[H, W, C\], got \(1, 4, 4, 3\)"),
    "int64": (torch.zeros(4, 4).long(), r"image: expected uint8, or float .*, got dtype torch.int64"),
    "int64 array": (np.zeros((4, 4), int), r"image: expected uint8, or float .*, got dtype \S*int64"),
    "complex": (torch.zeros(4, 4, dtype=torch.complex64), r"image: expected uint8, or float .*complex64"),
    "text array": (np.array([["a", "b"]]), r"image: expected uint8, or float .*, got dtype <U1"),
    "big-endian array": (np.zeros((4, 4), ">f4"), r"image: expected uint8, or float .*, got dtype >f4"),
    "sparse": (
        torch.eye(4).to_sparse(),
        r"image: expected a dense tensor with values, got .* torch.sparse_coo",
    ),
    "meta": (torch.zeros(4, 4, device="meta"), r"image: expected a dense tensor with values, got one that is meta"),
    "float8": (
        torch.zeros(4, 4).to(torch.float8_e5m2),
        r"image: expected uint8, or float .*, got dtype .*float8_e5m2",
    ),
    "PIL I": (Image.new("I", (4, 4), 70_000), r"image: expected grey levels in 0…65535, got 70000…70000"),
    "PIL F": (Image.new("F", (4, 4), 2), r"image: expected float values in \[0, 1\], got 2.0"),
    "path": ("digit.png", r"image: expected a tensor, a NumPy array or a PIL image, got str"),
    "None": (None, r"image: expected a tensor, a NumPy array or a PIL image, got NoneType"),
    "list": ([[0.0]], r"image: expected a tensor, a NumPy array or a PIL image, got list"),
}


@pytest.mark.parametrize(("image", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_bad_image_is_refused(image, message, in_channels):
    with pytest.raises(ImageError, match=f"^{message}"):
        to_pixels(image, in_channels)


@pytest.mark.parametrize(("image", "message"), BAD.values(), ids=BAD)
def test_position_of_a_bad_image_is_named(image, message):
    with pytest.raises(ImageError, match=rf"^images\[2\]{message.removeprefix('image')}"):
        to_pixel_batch([torch.zeros(4, 4), GREY, image, torch.zeros(4, 4)], 1)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 4), r"expected shape \[N, H, W\] or \[N, C, H, W\], got \(4, 4\)"),
        (np.zeros((1, 2, 3, 4, 3)), r"expected shape .*\[N, H, W, C\], got \(1, 2, 3, 4, 3\)"),
        (torch.zeros(2, 4, 4, 3), r"expected 1 or 3 channels .*got \(2, 4, 4, 3\)"),
        (torch.zeros(2, 0, 4), r"expected at least one pixel, got shape \(2, 0, 4\)"),
        (torch.zeros(2, 4, 4).int(), r"expected uint8, or float .*int32"),
        (torch.stack([holding(0), holding(2)]), r"images\[1\]: expected float values in \[0, 1\], got 2.0"),
    ],
)
def test_bad_batch_is_refused(images, message):
    with pytest.raises(ImageError, match=message):
        to_pixel_batch(images, 1)
