"""Gradio is imported by the tests themselves: that takes seconds, in one process instead of all."""

from importlib.util import find_spec
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")


def layer(alpha: int = 0, ink: int = 0) -> Image.Image:
    """4 × 4, with one pixel of ink at row 1 and column 2."""
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 2] = ink, ink, ink, alpha
    return Image.fromarray(pixels)


def value(background: Image.Image | None, *layers: Image.Image) -> dict[str, object]:
    return {"background": background, "layers": list(layers), "composite": None}


def test_nothing_drawn() -> None:
    from grapheme_pyg.demo.drawing import to_image

    assert to_image(None) is None
    assert to_image(value(None)) is None
    assert to_image(value(layer(), layer())) is None
    assert to_image(value(Image.new("RGB", (4, 4), "white"), layer())) is None


def test_ink_is_dark_on_white() -> None:
    from grapheme_pyg.demo.drawing import to_image

    expected = np.full((4, 4), 255)
    expected[1, 2] = 0
    for background in (None, layer(), Image.new("RGB", (4, 4), "white")):
        image = to_image(value(background, layer(255)))
        assert image is not None
        assert image.mode == "L"
        assert (np.asarray(image) == expected).all()


def png(width: int, height: int) -> bytes:
    Image.new("1", (width, height)).save(file := BytesIO(), "PNG")
    return file.getvalue()


def test_what_is_sent_is_decoded_once() -> None:
    from gradio.components.image_editor import EditorData, EditorDataBlobs

    from grapheme_pyg.demo.drawing import read_drawing

    sent = {"a": EditorDataBlobs(background=None, layers=[png(4, 3), None], composite=None)}
    read = read_drawing(sent, EditorData(id="a"))
    assert read is not None
    assert read["background"] is None
    assert [None if image is None else (image.mode, image.size) for image in read["layers"]] == [("RGBA", (4, 3)), None]
    assert sent == {}
    assert read_drawing(sent, EditorData(id="a")) is None
    assert read_drawing(sent, None) is None


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([b""] * 1_000, "expected at most 8 layers, got 1000"),
        ([png(2_000, 1_000)], "expected at most 1,048,576 pixels"),
        ([b"no image"], "expected an image, got 8 bytes of none of BMP"),
    ],
)
def test_what_is_too_much_is_refused(layers: list[bytes], message: str) -> None:
    from gradio import Error
    from gradio.components.image_editor import EditorData, EditorDataBlobs

    from grapheme_pyg.demo.drawing import read_drawing

    with pytest.raises(Error, match=message):
        read_drawing({"a": EditorDataBlobs(background=None, layers=layers, composite=None)}, EditorData(id="a"))
