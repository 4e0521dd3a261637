"""Mode "blob": nested light and dark components at several thresholds; a digit has about thirty edges.

python examples/mode_blob.py --limit 3000
"""

import argparse
from collections import Counter
from pathlib import Path

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

model = ImageClassificationModel(VisionBrain("blob"))
settings = TrainingSettings(epochs=3, batch_size=32)
metrics = fit(
    model, images[: arguments.limit], labels[: arguments.limit], validation=held_out, settings=settings, verbose=False
)
print(f"validation accuracy {metrics[-1]['val_accuracy']:.1%}")

eight = held_out[0][held_out[1] == 8][0]  # its holes are dark blobs within a light one
graph, names = model.vision(eight), model.vision.metadata[1]
for (source, relation, target), number in Counter(names[edge_type] for edge_type in graph.edge_type.tolist()).items():
    print(f"{source} {relation} {target}: {number}")
figure = Figure(figsize=(15, 6), layout="constrained")
axes = figure.subplots(1, 5, width_ratios=(1, 1, 1, 1, 3))
for ax, threshold in zip(axes, model.vision.config["thresholds"], strict=False):
    ax.imshow(eight > threshold, cmap="gray")
    ax.set(title=f"above {threshold}", xticks=[], yticks=[])
draw_dag(graph, layout="levels", color="relation", metadata=model.vision.metadata, ax=axes[4])
figure.savefig(arguments.out)
