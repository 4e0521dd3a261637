"""Trains on a few digits, as each process of ``torchrun`` does; the first one writes what came of it.

python train_shares.py IMAGES OUT OPTIONS, of which the last are JSON, a list: of each of several trainings
"""

import json
import os
import sys
import warnings

import torch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit


def train(images: str, options: dict) -> tuple[dict, list]:
    torch.manual_seed(int(os.environ.get("RANK", "0")))  # the first process's weights are everybody's
    loaded = torch.load(images)
    vision = VisionBrain(extend=False)
    model = ImageClassificationModel(vision, hidden_channels=(4, 6, 8), dropout=0.0, **options["model"])
    freeze = tuple(options["settings"].pop("freeze", ()))
    settings = TrainingSettings(device="cpu", freeze=freeze, **options["settings"])
    metrics = fit(model, *loaded, validation=loaded, settings=settings, verbose=False, **options.get("fit", {}))
    return {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}, metrics


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    outcomes = [train(sys.argv[1], options) for options in json.loads(sys.argv[3])]
    if os.environ.get("RANK", "0") == "0":
        torch.save(outcomes, sys.argv[2])
