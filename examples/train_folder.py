"""Train on your own pictures, of any sizes and kinds, in a folder with one folder for each class.

    python examples/train_folder.py PICTURES
    python examples/train_folder.py PICTURES --mode superpixel --grey --epochs 20
    python examples/train_folder.py PICTURES --predict one.jpg another.png

The last tenth of the files of each class is held out for validation, unless there are folders called train and val. All
pictures are scaled to one size, and read when they are needed. The model is saved in the run's folder; ``--predict``
classifies other pictures with it.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import torch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain
from grapheme_pyg.datasets import load_image_folder, read_image
from grapheme_pyg.datasets.image_files import ON_ERROR
from grapheme_pyg.runs import new_run_dir, train_run
from grapheme_pyg.training.settings import PRECISIONS
from grapheme_pyg.vision.finder import FINDERS

DEFAULTS = TrainingSettings()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="PICTURES", help="folder/class_name/*.png|jpg|…")
    parser.add_argument("--mode", choices=tuple(FINDERS), default="grid", help="mode of the graphs")
    parser.add_argument("--grey", action="store_true", help="turn colour into luma")
    parser.add_argument("--epochs", type=int, help="(default: by the number of pictures)")
    parser.add_argument("--batch-size", type=int, help="(default: by the number of pictures)")
    parser.add_argument("--hidden", type=int, nargs="+", metavar="C", help="width of states, by level")
    parser.add_argument("--size", type=int, metavar="PX", help="longer side (default: the median, at most 224)")
    parser.add_argument("--no-flip", action="store_true", help="train without mirror images, as letters need")
    parser.add_argument("--on-error", choices=ON_ERROR, default="raise", help="stop at broken files, or skip them")
    parser.add_argument("--precision", choices=PRECISIONS, default=DEFAULTS.precision)
    parser.add_argument("--num-workers", type=int, default=DEFAULTS.num_workers)
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--run-dir", type=Path, help="folder for results (default: runs/<folder>-<date>-<time>)")
    parser.add_argument("--predict", type=Path, nargs="*", default=[], metavar="FILE", help="pictures to classify then")
    arguments = parser.parse_args()

    channels = 1 if arguments.grey else 3
    data = load_image_folder(arguments.folder, channels, on_error=arguments.on_error)
    size = arguments.size or data.typical_size()
    training, validation = data.resized(size).split()
    settings = TrainingSettings(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        flip=0.0 if arguments.no_flip else None,
        precision=arguments.precision,
        num_workers=arguments.num_workers,
        seed=arguments.seed,
    )
    torch.manual_seed(settings.seed)
    model = ImageClassificationModel(
        VisionBrain(arguments.mode, in_channels=channels, resize=size, white=data.images.white),
        data.classes,
        hidden_channels=arguments.hidden,
    )
    train_run(
        model,
        (training.images, training.labels),
        (validation.images, validation.labels),
        name=arguments.folder.resolve().name,
        settings=settings,
        run_dir=arguments.run_dir or new_run_dir(arguments.folder.resolve().name, outside=arguments.folder),
    )
    if arguments.predict:
        prediction = model.predict([read_image(path, channels) for path in arguments.predict])
        for path, label, confidence in zip(arguments.predict, prediction.labels, prediction.confidences, strict=True):
            print(f"{path}: {label} ({100 * confidence:.0f} %)")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"train_folder.py: {error}")
