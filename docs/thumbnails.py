"""Makes the thumbnails of the gallery: runs the examples on little data, and draws what they draw or print.

python docs/thumbnails.py                      # all of them, in about 10 minutes
python docs/thumbnails.py mode_grid new_class  # these
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageOps

from grapheme_pyg.visualization.relations import GROUPS, LATERAL, PART_OF

ROOT = Path(__file__).parents[1]
EXAMPLES, FOLDER = ROOT / "examples", ROOT / "docs" / "images" / "gallery"
SIZE, DPI = (400, 300), 100
# In an empty folder, from which "shapes" is left by the notebook that comes first.
SHAPES = "your_own_folder"
COMMANDS = {
    "first_steps": "",
    SHAPES: "",
    "train_mnist": "--limit 3000 --epochs 5 --run-dir run",
    "train_folder": "shapes --epochs 12 --batch-size 24 --run-dir folder --predict "
    + " ".join(f"shapes/{name}/{number}.png" for number in (54, 57) for name in ("cross", "disc", "ring")),
    "mode_grid": "--limit 1500",
    "mode_blob": "--limit 1500",
    "mode_superpixel": "--limit 1000",
    "mode_hybrid": "--limit 1000",
    "explain_digit": "mnist-base",
    "new_class": "--limit 6000 --epochs 4",
    "plain_pyg_loop": "--limit 2000 --epochs 4",
    "rgcn_on_our_graphs": "--limit 1000 --epochs 6",
    "lightning_module": "--limit 5000 --epochs 3",
    "cached_graphs": "shapes --cache graphs --epochs 15",
}


def main() -> None:
    chosen = sys.argv[1:] or list(COMMANDS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        scratch = Path(name)
        if SHAPES not in chosen and any("shapes" in COMMANDS[name] for name in chosen):
            run(SHAPES, scratch)
        for name in chosen:
            save(DRAW[name](scratch, run(name, scratch)), FOLDER / f"{name}.png")
            print(name, flush=True)


def run(name: str, scratch: Path) -> str:
    """What an example prints; a notebook leaves its figures, as ``1.png`` and so on."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *COMMANDS[name].split()]
    notebook = EXAMPLES / "notebooks" / f"{name}.ipynb"
    if notebook.exists():
        cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
        keep = "for number in plt.get_fignums():\n    plt.figure(number).savefig(f'{number}.png', dpi=100)"
        command = [sys.executable, "-c", "\n\n".join(["".join(cell["source"]) for cell in cells] + [keep])]
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, text=True, check=True, env=environment)  # noqa: S603
    return done.stdout


def save(picture: Figure | Image.Image, path: Path) -> None:
    """As a thumbnail on white, with a palette."""
    if isinstance(picture, Figure):
        drawn = BytesIO()
        picture.savefig(drawn, dpi=DPI)
        picture = Image.open(drawn)
    small = ImageOps.pad(picture.convert("RGB"), SIZE, Image.Resampling.LANCZOS, color="white")
    small.quantize(48, method=Image.Quantize.MAXCOVERAGE, kmeans=3).save(path, optimize=True)


def show(file: str, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Callable[[Path, str], Image.Image]:
    """The part of a picture that an example draws: left, top, right and bottom, each in [0, 1]."""

    def draw(scratch: Path, _: str) -> Image.Image:
        with Image.open(scratch / file) as picture:
            width, height = picture.size
            left, top, right, bottom = box
            return picture.crop(
                (round(left * width), round(top * height), round(right * width), round(bottom * height))
            )

    return draw


def draw_losses(_: Path, printed: str) -> Figure:
    """The losses that an example prints, one for each epoch."""
    losses = [float(loss) for loss in re.findall(r"loss(?: of the last batch)? ([\d.]+)", printed)]
    figure, ax = axes()
    ax.plot(range(1, len(losses) + 1), losses, "o-", color=GROUPS[LATERAL][1])
    ax.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_new_class(_: Path, printed: str) -> Figure:
    """Which shares of images are refused at first, and recognised after the class was taught."""
    shares = [float(share) for share in re.findall(r"([\d.]+)% of", printed)]
    figure, ax = axes()
    names = ("unknown digit\nrefused", "others\nrefused", "new digit\nrecognised", "others\nlost")
    colors = [GROUPS[PART_OF][1], "0.75", GROUPS[LATERAL][1], "0.75"]
    bars = ax.bar(range(4), shares[:4], color=colors)
    ax.bar_label(bars, [f"{share:.0f} %" for share in shares[:4]])
    ax.set(xticks=range(4), yticks=[], ylim=(0, 110))
    ax.set_xticklabels(names, fontsize="small")
    return figure


def draw_text(_: Path, printed: str) -> Figure:
    """The last line that an example prints."""
    figure, ax = axes()
    words = printed.strip().splitlines()[-1].rsplit(maxsplit=2)
    ax.text(0.5, 0.62, " ".join(words[1:]), ha="center", va="center", fontsize=30, color=GROUPS[LATERAL][1])
    ax.text(0.5, 0.35, words[0], ha="center", va="center", fontsize=14)
    ax.set_axis_off()
    return figure


def draw_answers(scratch: Path, printed: str) -> Figure:
    """Pictures, and what an example says of each."""
    answers = re.findall(r"^(\S+\.png): (\w+)", printed, re.MULTILINE)
    figure = Figure(figsize=(4, 3), layout="constrained")
    for ax, (file, label) in zip(figure.subplots(2, 3).flat, answers, strict=True):
        with Image.open(scratch / file) as picture:
            ax.imshow(picture)
        ax.set_title(label, fontsize="medium")
        ax.set_axis_off()
    return figure


def axes() -> tuple[Figure, Axes]:
    """A figure of the size of a thumbnail."""
    figure = Figure(figsize=(SIZE[0] / DPI, SIZE[1] / DPI), layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


DRAW: dict[str, Callable[[Path, str], Figure | Image.Image]] = {
    "first_steps": show("2.png", (0, 0, 0.37, 1)),
    SHAPES: show("1.png"),
    "train_mnist": show("run/predictions.png", (0, 0, 1, 0.45)),
    "train_folder": draw_answers,
    "mode_grid": show("grid.png"),
    "mode_blob": show("blob.png", (0, 0.08, 0.54, 1)),
    "mode_superpixel": show("superpixel.png", (0, 0, 0.66, 1)),
    "mode_hybrid": show("hybrid.png", (0, 0, 0.5, 1)),
    "explain_digit": show("explanation.png"),
    "new_class": draw_new_class,
    "plain_pyg_loop": draw_losses,
    "rgcn_on_our_graphs": draw_losses,
    "lightning_module": draw_text,
    "cached_graphs": draw_losses,
}

if __name__ == "__main__":
    main()
