"""Mode "superpixel": regions found by SLIC, which follow the edges in the image, and their neighbours.

python examples/mode_superpixel.py --limit 2000
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.visualization import draw_dag

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--limit", type=int, default=2000, help="training images (default: 2000)")
parser.add_argument(
    "--out", type=Path, default=Path("superpixel.png"), help="picture to write (default: superpixel.png)"
)
arguments = parser.parse_args()
images, labels = load_mnist().train
held_out = images[-500:], labels[-500:]

figure = Figure(figsize=(13, 5.4), layout="constrained")
for ax, num_regions in zip(figure.subplots(1, 3), (25, 75, 150), strict=True):
    # Each pixel has the mean of its region, which is the first feature; −1 marks pixels without a region.
    vision = VisionBrain("superpixel", num_regions=num_regions, seg=True)
    graph = vision(held_out[0][0])
    seen = graph.x[graph.seg, 0].where(graph.seg >= 0, 0).view(28, 28)
    draw_dag(graph, seen, metadata=vision.metadata, ax=ax)
    ax.set_title(f"num_regions={num_regions}: {len(graph.seg.unique()) - 1} found")
figure.savefig(arguments.out)

model = ImageClassificationModel(VisionBrain("superpixel"))
settings = TrainingSettings(epochs=4, batch_size=32)
metrics = fit(
    model, images[: arguments.limit], labels[: arguments.limit], validation=held_out, settings=settings, verbose=False
)
print(f"validation accuracy {metrics[-1]['val_accuracy']:.1%}")
