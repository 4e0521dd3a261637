"""Mode "blob": strokes between the ends and junctions of a drawing's skeleton, and the blobs that they are part of.

python examples/mode_blob.py --limit 3000
"""

import argparse
from collections import Counter
from pathlib import Path

import torch
from matplotlib.figure import Figure

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.visualization import draw_dag

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--limit", type=int, default=3000, help="training images (default: 3000)")
parser.add_argument("--out", type=Path, default=Path("blob.png"), help="picture to write (default: blob.png)")
arguments = parser.parse_args()
images, labels = load_mnist().train
held_out = images[-1000:], labels[-1000:]

eight = held_out[0][held_out[1] == 8][2]  # its holes are dark blobs within a light one
vision = VisionBrain("blob", seg=True)
graph, (node_types, edge_types) = vision(eight), vision.metadata
for (source, relation, target), number in Counter(edge_types[kind] for kind in graph.edge_type.tolist()).items():
    print(f"{source} {relation} {target}: {number}")
figure = Figure(figsize=(15, 5), layout="constrained")
strokes, over, levels = figure.subplots(1, 3, width_ratios=(1, 1, 1.7))
# Each stroke has a colour; blobs without strokes, the background and the holes, stay black.
first_blob = sum(node_types[kind] == "stroke_round0" for kind in graph.node_type.tolist())
stroke = graph.seg.view(28, 28)
colored = torch.where(stroke < first_blob, 1 + stroke, 0)
strokes.imshow(colored, cmap="nipy_spectral", interpolation="nearest")
strokes.set(title=f"{first_blob} strokes", xticks=[], yticks=[])
draw_dag(graph, eight, metadata=vision.metadata, ax=over)
draw_dag(graph, layout="levels", metadata=vision.metadata, ax=levels)
figure.savefig(arguments.out)

model = ImageClassificationModel(VisionBrain("blob"))
settings = TrainingSettings(epochs=3, batch_size=32)
metrics = fit(
    model, images[: arguments.limit], labels[: arguments.limit], validation=held_out, settings=settings, verbose=False
)
print(f"validation accuracy {metrics[-1]['val_accuracy']:.1%}")
