"""Mode "hybrid": cells and blobs of the same image; each cell is part of the smallest blob around its centre.

python examples/mode_hybrid.py --limit 2000
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_mnist

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--limit", type=int, default=2000, help="training images (default: 2000)")
parser.add_argument("--out", type=Path, default=Path("hybrid.png"), help="picture to write (default: hybrid.png)")
arguments = parser.parse_args()
images, labels = load_mnist().train
held_out = images[-1000:], labels[-1000:]

model = ImageClassificationModel(VisionBrain("hybrid"))
settings = TrainingSettings(epochs=3, batch_size=32)
metrics = fit(
    model, images[: arguments.limit], labels[: arguments.limit], validation=held_out, settings=settings, verbose=False
)
print(f"validation accuracy {metrics[-1]['val_accuracy']:.1%}")

figure = Figure(figsize=(12, 3.4), layout="constrained")
for ax, digit in zip(figure.subplots(1, 4), (0, 4, 6, 8), strict=True):
    image = held_out[0][held_out[1] == digit][0]
    graph, (node_types, edge_types) = model.vision(image), model.vision.metadata
    wholes = [i for i, (part, _, whole) in enumerate(edge_types) if part.startswith("cell") and "cell" not in whole]
    cells, blobs = graph.edge_index[:, [edge_type in wholes for edge_type in graph.edge_type.tolist()]]
    ax.imshow(image, cmap="gray", extent=(0, 1, 1, 0))
    for blob in blobs.unique():
        name = node_types[graph.node_type[blob]].split("_")[0]
        ax.scatter(*graph.pos[cells[blobs == blob]].T, s=20, label=f"cells in {name}")
    ax.set(xticks=[], yticks=[])
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize="x-small", frameon=False)
figure.savefig(arguments.out)
