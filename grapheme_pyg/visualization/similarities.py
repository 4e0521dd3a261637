"""draw_template_similarities: pictures of similarities with class templates."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from grapheme_pyg.visualization.relations import GROUPS, PART_OF, UNSELECTED
from grapheme_pyg.visualization.text import as_labels

# Height of the bars of one class together; the rest is the space between classes.
FILLED = 0.8


def draw_template_similarities(
    similarities: Tensor, classes: Sequence[str], *, label: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draws the similarities of one image with every template, as a group of bars for each class.

    The templates of a class are in descending order of similarity: the first one decides, since the similarity with a
    class is that with its nearest template.

    Args:
        similarities: ``[num_classes, templates_per_class]`` in [−1, 1], a row of the result of
            :meth:`grapheme_pyg.ClassificationBrain.template_similarities`.
        classes: Names of the classes.
        label: Name of the class to highlight.
        ax: The axes; by default those of a new figure, ``result.figure``.

    Returns:
        The axes.

    Raises:
        ValueError: ``similarities`` has another shape, or no class is named ``label``.
    """
    if similarities.dim() != 2 or len(similarities) != len(classes) or similarities.numel() == 0:
        expected = f"shape [{len(classes)}, templates_per_class]"
        raise ValueError(f"similarities: expected {expected}, got {list(similarities.shape)}")
    if label is not None and label not in classes:
        raise ValueError(f"label: expected one of {list(classes)}, got {label!r}")
    num_classes, per_class = similarities.shape
    if ax is None:
        ax = Figure(figsize=(5, 0.8 + 0.45 * num_classes), layout="constrained").subplots()
    values = similarities.detach().cpu().sort(dim=1, descending=True).values.tolist()
    height = FILLED / per_class
    for kind, (name, row) in enumerate(zip(classes, values, strict=True)):
        places = [kind + (k + 0.5) * height - FILLED / 2 for k in range(per_class)]
        ax.barh(places, row, 0.85 * height, color=GROUPS[PART_OF][1] if name == label else UNSELECTED)
    ax.set(xlim=(-1, 1), ylim=(num_classes - 0.5, -0.5), xlabel="cosine similarity with each template")
    ax.set_xticks((-1, -0.5, 0, 0.5, 1))
    ax.set_yticks(range(num_classes), as_labels(classes))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.tick_params(left=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax
