"""What a model makes of a drawing, as numbers and pictures."""

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.datasets.mnist_style import mnist_style
from grapheme_pyg.explanation import Explanation, explain
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.prediction import Prediction
from grapheme_pyg.visualization import draw_dag, draw_explanation, draw_template_similarities
from grapheme_pyg.visualization.text import as_label

# In inches, at Gradio's 100 dots each; pages show figures narrower than that.
SQUARE, WIDE, TALL = (4, 4.4), (12, 4.6), (4, 8.8)


@dataclass(frozen=True)
class Reading:
    """What a model makes of a drawing.

    Attributes:
        graph: Of ``digit``.
        prediction: Of one image.
        explanation: Of the prediction.

    Shapes:
        - **digit**: uint8 ``[28, 28]``, the drawing as the model sees it
        - **templates**: ``[num_classes, templates_per_class]`` float32, cosines with every template; classes that were
          added from examples have no templates and are not in it
    """

    digit: Tensor
    graph: Data
    prediction: Prediction
    explanation: Explanation
    templates: Tensor


def read(model: ImageClassificationModel, drawing: Image.Image) -> Reading:
    """Classifies a drawing.

    Args:
        model: In evaluation mode, trained on digits of MNIST's form.
        drawing: Of one digit, on a plain page.
    """
    digit = mnist_style(drawing)
    graph = model.vision(digit)
    with torch.no_grad():
        templates = model.classifier.template_similarities(model.embed(graph))[0]
    return Reading(digit, graph, model.predict([digit]), explain(model, digit), templates)


def draw_graph(reading: Reading) -> Figure:
    """The graph over the drawing."""
    figure = Figure(figsize=SQUARE, layout="constrained")
    draw_dag(reading.graph, reading.digit, ax=figure.subplots()).set_title("its graph")
    return figure


def draw_reasons(reading: Reading) -> Figure:
    """Which pixels and edges decided."""
    figure = Figure(figsize=(SQUARE[0], SQUARE[0] - 0.1), layout="constrained")
    ax = draw_explanation(reading.explanation, reading.digit, ax=figure.subplots())
    ax.set_title(f"red: for {as_label(reading.explanation.label)}, blue: against it")
    return figure


def draw_levels(reading: Reading, model: ImageClassificationModel) -> Figure:
    """The graph as the network that it is."""
    figure = Figure(figsize=WIDE, layout="constrained")
    ax = draw_dag(reading.graph, metadata=model.vision.metadata, layout="levels", ax=figure.subplots())
    ax.set_title("the same graph, computed from left to right")
    return figure


def draw_templates(reading: Reading, model: ImageClassificationModel) -> Figure:
    """Similarities with every template."""
    figure = Figure(figsize=TALL, layout="constrained")
    names = model.classes[: len(reading.templates)]
    label = reading.prediction.labels[0]
    shown = label if label in names else None
    ax = draw_template_similarities(reading.templates, names, label=shown, ax=figure.subplots())
    ax.set_title("similarity with what was learned")
    return figure
