"""Turns the value of Gradio's sketchpad into an image."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.image_editor import EditorData, EditorDataBlobs
from gradio.data_classes import FileData
from PIL import Image

from grapheme_pyg.datasets.image_reading import open_image
from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.pil_images import decoding

# Limits for the layers of a drawing and the pixels of each layer. The page sends one layer of 360 by 360 pixels.
MAX_LAYERS, MAX_PIXELS = 8, 2**20


def read_drawing(sent: dict[str, EditorDataBlobs], payload: EditorData | None) -> dict[str, Any] | None:
    """Decodes what a browser sends into the value that :func:`to_image` takes.

    Args:
        sent: Maps names to drawings that were sent earlier. The drawing that is read is removed from it.
        payload: A drawing, or the name of one in ``sent``. None before the first stroke.

    Raises:
        gradio.Error: The drawing has more than 8 layers, or a layer is not an image or has more than 2²⁰ pixels.
    """
    drawing = payload if payload is None or payload.id is None else sent.pop(payload.id, None)
    if drawing is None:
        return None
    if len(drawing.layers) > MAX_LAYERS:
        raise gr.Error(f"expected at most {MAX_LAYERS} layers, got {len(drawing.layers)}", print_exception=False)
    return {"background": decoded(drawing.background), "layers": [decoded(layer) for layer in drawing.layers]}


def decoded(file: FileData | bytes | None) -> Image.Image | None:
    """Decodes a layer or a whole drawing.

    Raises:
        gradio.Error: It is not an image or has more than 2²⁰ pixels.
    """
    if file is None:
        return None
    try:
        content = Path(file.path).read_bytes() if isinstance(file, FileData) else file
        with decoding("drawing"), open_image(content, "drawing", MAX_PIXELS) as opened:
            return opened.convert("RGBA")
    except ImageError as error:
        raise gr.Error(str(error), print_exception=False) from error


def to_image(value: dict[str, Any] | None) -> Image.Image | None:
    """Merges the layers of a drawing, dark on white.

    Args:
        value: Has a ``background`` and ``layers``. Each is None or an RGBA image that is transparent where nothing is
            drawn. None before the first stroke.

    Returns:
        A grey image (mode L); None if nothing is drawn.
    """
    if value is None:
        return None
    layers = [layer for layer in (value["background"], *value["layers"]) if layer is not None]
    if not any(layer.convert("RGBA").getchannel("A").getbbox() for layer in layers):
        return None
    page = Image.new("RGBA", layers[0].size, "white")
    for layer in layers:
        page.alpha_composite(layer.convert("RGBA"))
    grey = page.convert("L")
    # White strokes cannot be seen on the white page, so they do not count as a drawing.
    return grey if grey.getextrema() != (255, 255) else None
