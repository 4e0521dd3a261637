"""draw_templates: pictures of templates and embeddings in two dimensions."""

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, OffsetImage, TextArea, VPacker
from torch import Tensor

from grapheme_pyg.dag import check_range
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.vision.pixels import to_pixels
from grapheme_pyg.visualization.text import as_label

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

MAX_THUMBNAILS = 12  # classes; thumbnails of more would be taller than the plot
THUMBNAIL = 22  # points


def draw_templates(
    model: ImageClassificationModel,
    images: "Images",
    labels: Tensor,
    *,
    ax: Axes | None = None,
    num_nearest: int = 4,
) -> Axes:
    """Draws embeddings of images and templates of classes in the plane with the most variance of the images.

    Since similarities are cosines, embeddings and templates are divided by their lengths. The plane is that of the
    first two principal components of the images (Pearson, "On Lines and Planes of Closest Fit to Systems of Points in
    Space", 1901), with signs that make the largest weight of each positive, so that the same images make the same
    picture. Dots are images, stars are templates, and colours are the true classes; a template is a small star if it is
    not the nearest one for any image of its class. Next to the plot are the images of each class that are most similar
    to one of its templates, which have rings in the plot.

    Args:
        model: The model with the embeddings and templates.
        images: At least two images, in any form that :meth:`grapheme_pyg.VisionBrain.batch` accepts; a picture of up to
            a thousand is legible.
        labels: ``[N]`` int64, true classes, in [0, num_classes).
        ax: The axes; by default those of a new figure, ``result.figure``.
        num_nearest: Number of images to show next to the plot for each of the first twelve classes.

    Returns:
        The axes.

    Raises:
        ValueError: Images or labels have another form, or ``num_nearest`` is negative.
    """
    if num_nearest < 0:
        raise ValueError(f"num_nearest: expected a non-negative integer, got {num_nearest}")
    if len(images) < 2:
        raise ValueError(f"images: expected at least two, got {len(images)}")
    if labels.dtype != torch.int64 or list(labels.shape) != [len(images)]:
        got = f"{labels.dtype} of shape {list(labels.shape)}"
        raise ValueError(f"labels: expected torch.int64 of shape [{len(images)}], one for each image, got {got}")
    check_range("labels", "image", labels, len(model.classes), ValueError)
    labels = labels.cpu()
    directions = F.normalize(model.embed_images(images).double(), dim=-1)
    templates = F.normalize(model.classifier.templates.detach().cpu().double(), dim=-1)
    center, axes, shares = _principal_axes(directions)
    places = ((directions - center) @ axes).numpy()

    if ax is None:
        ax = Figure(figsize=(9, 6.6), layout="constrained").subplots()
    colors = _colors(len(model.classes))
    ax.scatter(places[:, 0], places[:, 1], s=10, c=[colors[i] for i in labels.tolist()], alpha=0.55, linewidths=0)
    rows: list[Any] = []
    for number, name in enumerate(model.classes):
        own = templates[number] if number < len(templates) else templates.new_zeros(0, templates.shape[-1])
        own = own[own.any(dim=-1)]  # templates of zeros are unset
        stars = ((own - center) @ axes).numpy()
        cosines = directions[labels == number] @ own.t()
        used = np.isin(np.arange(len(own)), cosines.argmax(dim=1).numpy() if len(own) else [])
        style: dict[str, Any] = {"marker": "*", "edgecolors": "black", "linewidths": 0.8, "zorder": 3}
        style |= {"s": np.where(used, 190, 45), "alpha": np.where(used, 1.0, 0.45)}
        ax.scatter(stars[:, 0], stars[:, 1], color=colors[number], label=as_label(name), **style)
        nearest = _nearest(directions, own, labels == number, num_nearest)
        if number < MAX_THUMBNAILS:
            ring: dict[str, Any] = {"s": 34, "facecolors": "none", "edgecolors": "black", "linewidths": 0.7}
            ax.scatter(places[nearest, 0], places[nearest, 1], zorder=2, **ring)
            thumbnails = [_thumbnail(images[i]) for i in nearest]
            look = {"color": colors[number], "fontsize": "small", "weight": "bold"}
            text = TextArea(f"★ {as_label(name, weight='bold')}", textprops=look)
            rows.append(HPacker(pad=0, sep=3, align="center", children=[text, *thumbnails]))
    left_out = len(model.classes) - len(rows)
    if left_out:
        rows.append(TextArea(f"and {left_out} more classes", textprops={"fontsize": "small"}))
    table = VPacker(pad=0, sep=4, align="right" if num_nearest else "left", children=rows)
    anchor: dict[str, Any] = {"bbox_to_anchor": (1.02, 0.5), "bbox_transform": ax.transAxes, "borderpad": 0}
    ax.add_artist(AnchoredOffsetbox("center left", child=table, frameon=False, **anchor))
    for axis, share in zip((ax.xaxis, ax.yaxis), shares, strict=True):
        axis.set_label_text(f"{100 * share:.0f} % of the variance of {len(images):,} images")
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _principal_axes(points: Tensor) -> tuple[Tensor, Tensor, list[float]]:
    """Returns the centre ``[C]``, two principal axes ``[C, 2]``, and the share of the variance along each."""
    center = points.mean(dim=0)
    _, lengths, axes = torch.linalg.svd(points - center, full_matrices=False)
    if lengths.numel() < 2:
        # Embeddings with one channel are on a line.
        lengths, axes = F.pad(lengths, (0, 1)), F.pad(axes, (0, 0, 0, 1))
    axes = axes[:2].t()
    signs = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    shares = lengths.square() / lengths.square().sum().clamp(min=torch.finfo(lengths.dtype).tiny)
    return center, axes * signs, shares[:2].tolist()


def _nearest(directions: Tensor, templates: Tensor, chosen: Tensor, number: int) -> list[int]:
    """Returns the chosen images with the highest cosines with one of the templates, best first."""
    candidates = chosen.nonzero().squeeze(1)
    if not len(templates):
        return []
    cosines = (directions[candidates] @ templates.t()).amax(dim=1)
    best: list[int] = candidates[cosines.argsort(descending=True, stable=True)[:number]].tolist()
    return best


def _thumbnail(image: Any) -> OffsetImage:
    pixels = to_pixels(image, 3).permute(1, 2, 0).cpu().numpy()
    return OffsetImage(pixels, zoom=THUMBNAIL / max(pixels.shape[:2]), interpolation="nearest")


def _colors(number: int) -> list[str]:
    """Returns colours of classes, which are most distinct for up to ten."""
    if number <= 20:
        return [to_hex(color) for color in mpl.color_sequences["tab10" if number <= 10 else "tab20"]]
    return [to_hex(color) for color in mpl.colormaps["gist_rainbow"](np.linspace(0, 1, number))]
