"""Train the model in a plain PyTorch loop over PyG's DataLoader, without `fit`.

python examples/plain_pyg_loop.py --limit 5000
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import torch
import torch.nn.functional as F
from torch_geometric.loader import DataLoader

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import ImageDataset, ImageGraphDataset, load_mnist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder with the IDX files (default: $GRAPHEME_DATA, else downloaded)")
    parser.add_argument("--limit", type=int, default=5000, help="training images (default: 5000)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them (default: 3)")
    arguments = parser.parse_args()
    data = load_mnist(arguments.data_dir)

    torch.manual_seed(0)
    model = ImageClassificationModel(VisionBrain(), classes=data.classes)
    images = ImageDataset(data.train.images[: arguments.limit], data.train.labels[: arguments.limit])
    loader = DataLoader(ImageGraphDataset(images, model.vision), batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for epoch in range(arguments.epochs):
        for batch in loader:
            loss = F.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}  loss of the last batch {loss.item():.4f}", flush=True)
    hits = model.predict(data.test.images).similarities.argmax(dim=1) == data.test.labels
    print(f"test accuracy {100 * hits.float().mean().item():.2f} % on {data.name}")


if __name__ == "__main__":
    main()
