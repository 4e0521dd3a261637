"""Train on pictures of very different sizes, with graphs that are kept on disk and batches within a budget.

    python examples/cached_graphs.py PICTURES

PICTURES is a folder with one folder for each class. A second run finds the graphs in the cache. A batch holds as many
graphs as fit into a budget of nodes, so that small pictures do not waste time, and large ones do not exceed memory.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import torch
import torch.nn.functional as F
from torch_geometric.loader import DataLoader

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import BudgetBatchSampler, GraphCache, ImageSequenceDataset, load_image_folder
from grapheme_pyg.vision.finder import FINDERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="PICTURES", help="folder/class_name/*.png|jpg|…")
    parser.add_argument("--mode", choices=tuple(FINDERS), default="superpixel", help="mode of the graphs")
    parser.add_argument("--cache", type=Path, default=Path("runs/graphs"), help="folder of the cache")
    parser.add_argument("--max-nodes", type=int, default=20_000, help="most nodes of a batch (default: 20,000)")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = load_image_folder(arguments.folder)
    training, validation = data.split()
    model = ImageClassificationModel(VisionBrain(arguments.mode, in_channels=3), data.classes)
    images = ImageSequenceDataset(training.images, training.labels)
    graphs = GraphCache(arguments.cache, images, model.vision)
    sampler = BudgetBatchSampler(graphs.num_nodes, arguments.max_nodes, shuffle=True)
    loader = DataLoader(graphs, batch_sampler=sampler)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        total = 0.0
        for batch in loader:
            loss = F.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * batch.num_graphs
        print(f"epoch {epoch + 1}  train loss {total / len(graphs):.4f}", flush=True)
    hits = model.predict(validation.images).similarities.argmax(dim=1) == validation.labels
    print(f"validation accuracy {100 * hits.float().mean().item():.2f} % of {len(validation)} pictures")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"cached_graphs.py: {error}")
