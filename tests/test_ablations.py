import json
import sys
from pathlib import Path

import ablations
import pytest
import torch
from ablations import VARIANTS, Variant

from grapheme_pyg import ImageClassificationModel, TrainingSettings
from grapheme_pyg.datasets import Split


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_variants_change_something(variant: Variant) -> None:
    model = ImageClassificationModel.from_preset("base", vision=variant.vision, **variant.model)
    default = ImageClassificationModel.from_preset("base")
    changed = (model.config, model.vision.config, TrainingSettings(**variant.training)) != (
        default.config,
        default.vision.config,
        TrainingSettings(),
    )
    assert changed == (variant is not VARIANTS["default"])


def test_finished_runs_are_not_run_again(
    digits: tuple[Split, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Split(digits[0].images[:60], digits[0].labels[:60])
    monkeypatch.setattr(ablations, "split_mnist", lambda: (few, few))
    folders = ("--runs", str(tmp_path), "--out", str(tmp_path / "out.json"))
    monkeypatch.setattr(sys, "argv", ["ablations.py", "--only", "default", "wide", "--epochs", "1", *folders])
    measured: list[tuple[str, int]] = []
    measure = ablations.measure

    def counted(variant: Variant, seed: int, *rest: object) -> dict[str, float]:
        measured.append((variant.words, seed))
        return measure(variant, seed, *rest)

    monkeypatch.setattr(ablations, "measure", counted)
    ablations.main()
    once = json.loads((tmp_path / "out.json").read_text())
    assert measured == [(VARIANTS[name].words, seed) for name in ("default", "wide") for seed in (0, 1, 2)]
    ablations.main()
    assert len(measured) == 6
    assert json.loads((tmp_path / "out.json").read_text()) == once
    assert "| half as wide again | " in capsys.readouterr().out
    losses = torch.tensor([run["loss"] for variant in once["variants"] for run in variant["runs"]])
    assert len(losses.unique()) == 6
