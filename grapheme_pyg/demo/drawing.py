"""What Gradio's sketchpad hands over → an image."""

from typing import Any

from PIL import Image


def to_image(value: dict[str, Any] | None) -> Image.Image | None:
    """The drawing, dark on white.

    Args:
        value: Of a :class:`gradio.Sketchpad` with ``type="pil"`` and ``image_mode="RGBA"``; its layers are transparent
            where nothing is drawn. None before the first stroke.

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
    # White strokes on the white page are no drawing either.
    return grey if grey.getextrema() != (255, 255) else None
