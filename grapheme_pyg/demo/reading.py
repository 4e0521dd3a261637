"""Reads a drawing with a model, and draws figures of the result."""

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

# Sizes in inches, at Gradio's 100 dots per inch. The page scales figures down.
SQUARE, WIDE, TALL = (4, 4.4), (12, 4.6), (4, 8.8)


@dataclass(frozen=True)
class Reading:
    """Holds the results of a model for a drawing.

    Attributes:
        graph: The graph of ``digit``.
        prediction: The prediction for this one image.
        explanation: The explanation of the prediction.

    Shapes:
        - **digit**: uint8 ``[28, 28]``, the drawing as the model sees it
        - **templates**: ``[num_classes, templates_per_class]`` float32, the cosine with each template, without taught
          classes, which have no templates
    """

    digit: Tensor
    graph: Data
    prediction: Prediction
    explanation: Explanation
    templates: Tensor


def read(model: ImageClassificationModel, drawing: Image.Image) -> Reading:
    """Classifies a drawing.

    Args:
        model: Model in evaluation mode, trained on digits in MNIST's form.
        drawing: Picture of one digit on a plain page.
    """
    digit = mnist_style(drawing)
    graph = model.vision(digit)
    with torch.no_grad():
        templates = model.classifier.template_similarities(model.embed(graph))[0]
    return Reading(digit, graph, model.predict([digit]), explain(model, digit), templates)


def draw_graph(reading: Reading) -> Figure:
    """Draws the graph over the drawing."""
    figure = Figure(figsize=SQUARE, layout="constrained")
    draw_dag(reading.graph, reading.digit, ax=figure.subplots()).set_title("its graph")
    return figure


def draw_reasons(reading: Reading) -> Figure:
    """Draws which pixels and edges speak for and against the predicted class."""
    figure = Figure(figsize=(SQUARE[0], SQUARE[0] - 0.1), layout="constrained")
    ax = draw_explanation(reading.explanation, reading.digit, ax=figure.subplots())
    ax.set_title(f"red: for {as_label(reading.explanation.label)}, blue: against it")
    return figure


def draw_levels(reading: Reading, model: ImageClassificationModel) -> Figure:
    """Draws the graph as a network, level by level."""
    figure = Figure(figsize=WIDE, layout="constrained")
    ax = draw_dag(reading.graph, metadata=model.vision.metadata, layout="levels", ax=figure.subplots())
    ax.set_title("the same graph, computed from left to right")
    return figure


def draw_templates(reading: Reading, model: ImageClassificationModel) -> Figure:
    """Draws the similarities with all templates."""
    figure = Figure(figsize=TALL, layout="constrained")
    names = model.classes[: len(reading.templates)]
    label = reading.prediction.labels[0]
    shown = label if label in names else None
    ax = draw_template_similarities(reading.templates, names, label=shown, ax=figure.subplots())
    ax.set_title("similarity with what was learned")
    return figure
