"""Makes the page, with a tab that reads drawings of digits and a tab that teaches classes."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Default

from grapheme_pyg.demo.drawing import read_drawing, to_image
from grapheme_pyg.demo.reading import draw_graph, draw_levels, draw_reasons, draw_templates, read
from grapheme_pyg.demo.teach_page import CSS as TEACH_CSS
from grapheme_pyg.demo.teach_page import make_teaching
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import printable

TITLE = "Draw a digit"
HELP = "Draw one digit with the mouse, large, in the square. Every stroke is read at once."
# Sizes in pixels. In MNIST, strokes are about an eighth as wide as digits are high. On the page, digits are drawn about
# 5/8 as high as the canvas.
CANVAS, BRUSH = 360, 28
# Drawings are deleted after this many seconds.
KEPT_FOR = 60
CSS = ".gradio-container {max-width: 1320px !important; margin: auto}" + TEACH_CSS
# The sketchpad starts without a tool and ignores strokes until one is chosen. This chooses the brush if there is none.
BRUSH_READY = """() => setInterval(() => {
    const find = name => document.querySelector(`#drawing button[aria-label="${name}"]`);
    const [brush, eraser] = [find('Brush'), find('Erase')];
    if (brush && ![brush, eraser].some(tool => tool?.classList.contains('highlight'))) brush.click();
}, 200)"""


def make_theme() -> Default:
    """Returns Gradio's theme with the fonts of the system, because others would be fetched from the network."""
    return Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])


def make_page(model: ImageClassificationModel, teach_dir: Path) -> gr.Blocks:
    """Makes the page without serving it.

    Args:
        model: Model in evaluation mode, trained on digits in MNIST's form.
        teach_dir: Folder in which taught models are saved, each in its own folder.
    """
    page: gr.Blocks = gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(KEPT_FOR, KEPT_FOR)
    )
    with page, gr.Tabs():
        # Reading shows templates. Models that were only taught have none.
        if len(model.classifier.templates):
            with gr.Tab("Read"):
                make_reading(model)
        with gr.Tab("Teach"):
            make_teaching(model, teach_dir)
        page.load(js=BRUSH_READY)
    return page


def make_reading(model: ImageClassificationModel) -> None:
    """Adds the components that read digits to the Gradio context that is open."""

    def answer(value: dict[str, Any] | None) -> tuple[Any, ...]:
        drawing = to_image(value)
        if drawing is None:
            return (None,) * 5
        reading = read(model, drawing)
        shares = dict(zip(map(printable, model.classes), reading.prediction.probabilities[0].tolist(), strict=True))
        figures = (
            draw_graph(reading),
            draw_reasons(reading),
            draw_templates(reading, model),
            draw_levels(reading, model),
        )
        return shares, *figures

    gr.Markdown(f"# {TITLE}\n{HELP}")
    with gr.Row():
        with gr.Column(min_width=CANVAS + 20):
            pad = gr.Sketchpad(
                type="pil",
                image_mode="RGBA",
                canvas_size=(CANVAS, CANVAS),
                fixed_canvas=True,
                height=CANVAS + 90,
                brush=gr.Brush(BRUSH, colors=["#000000"], default_color="#000000", color_mode="fixed"),
                layers=False,
                transforms=(),
                buttons=[],
                label="Your drawing",
                elem_id="drawing",
            )
            # Gradio's own method accepts any number of layers of any size. It is replaced on the instance, because
            # Gradio writes a file beside the module of each subclass.
            pad.preprocess = partial(read_drawing, pad.blob_storage)  # type: ignore[method-assign, assignment]
            label = gr.Label(num_top_classes=3, label="What it is", elem_id="answer")
        with gr.Column(min_width=320):
            graph = gr.Plot(show_label=False, format="png", elem_id="graph")
            reasons = gr.Plot(show_label=False, format="png", elem_id="reasons")
        with gr.Column(min_width=320):
            templates = gr.Plot(show_label=False, format="png", elem_id="templates")
    levels = gr.Plot(show_label=False, format="png", elem_id="levels")
    outputs: list[gr.components.Component] = [label, graph, reasons, templates, levels]
    pad.change(answer, pad, outputs, trigger_mode="always_last", show_progress="hidden")
