"""Code in README, on a few digits instead of all."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from grapheme_pyg import ImageClassificationModel, datasets
from grapheme_pyg.datasets import Split, load_mnist5k

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = load_mnist5k()
    few = replace(data, train=Split(*(t[:200] for t in data.train)), test=Split(*(t[:20] for t in data.test)))
    monkeypatch.setattr(datasets, "load_mnist", lambda: few)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert len(names["prediction"].labels) == 20
    assert ImageClassificationModel.from_pretrained("my-model").classes == [*data.classes, "sideways"]


def test_the_example_is_ten_lines() -> None:
    first = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 10
