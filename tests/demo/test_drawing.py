import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="an extra")
from grapheme_pyg.demo.drawing import to_image


def layer(alpha: int = 0, ink: int = 0) -> Image.Image:
    """4 × 4, with one pixel of ink at row 1 and column 2."""
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 2] = ink, ink, ink, alpha
    return Image.fromarray(pixels)


def value(background: Image.Image | None, *layers: Image.Image) -> dict[str, object]:
    return {"background": background, "layers": list(layers), "composite": None}


def test_nothing_drawn() -> None:
    assert to_image(None) is None
    assert to_image(value(None)) is None
    assert to_image(value(layer(), layer())) is None
    assert to_image(value(Image.new("RGB", (4, 4), "white"), layer())) is None


def test_ink_is_dark_on_white() -> None:
    expected = np.full((4, 4), 255)
    expected[1, 2] = 0
    for background in (None, layer(), Image.new("RGB", (4, 4), "white")):
        image = to_image(value(background, layer(255)))
        assert image is not None
        assert image.mode == "L"
        assert (np.asarray(image) == expected).all()
