"""Mode "grid": cells where there is contrast, so that larger digits have larger networks.

python examples/mode_grid.py --limit 3000
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.visualization import draw_dag

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--limit", type=int, default=3000, help="training images (default: 3000)")
parser.add_argument("--out", type=Path, default=Path("grid.png"), help="picture to write (default: grid.png)")
arguments = parser.parse_args()
images, labels = load_mnist().train
held_out = images[-1000:], labels[-1000:]

model = ImageClassificationModel(VisionBrain("grid"))
settings = TrainingSettings(epochs=3, batch_size=32)
metrics = fit(
    model, images[: arguments.limit], labels[: arguments.limit], validation=held_out, settings=settings, verbose=False
)
print(f"validation accuracy {metrics[-1]['val_accuracy']:.1%}")

graphs = [model.vision(image) for image in held_out[0]]
sizes = [graph.num_nodes for graph in graphs]
for digit in range(10):
    own = [size for size, label in zip(sizes, held_out[1].tolist(), strict=True) if label == digit]
    print(f"{digit}: {sum(own) / len(own):.0f} nodes on average")
figure = Figure(figsize=(12, 9), layout="constrained")
for row, i in zip(
    figure.subplots(2, 2, width_ratios=(1, 2)), (sizes.index(min(sizes)), sizes.index(max(sizes))), strict=True
):
    draw_dag(graphs[i], held_out[0][i], metadata=model.vision.metadata, ax=row[0])
    draw_dag(graphs[i], layout="levels", metadata=model.vision.metadata, ax=row[1])
figure.savefig(arguments.out)
