"""The gallery has every example, with a thumbnail of its own and its source."""

import ast
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gallery.md").read_text()
THUMBNAILS = ROOT / "docs" / "images" / "gallery"
EXAMPLES = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples" / "notebooks").glob("*.ipynb")])


def cards(page: str) -> dict[str, tuple[str, str]]:
    """Picture and words of each card, by the name of the example."""
    found = re.findall(r"^\[!\[.+\]\((\S+)\)\]\(#\S+\)\n\n\[\*\*(\S+)\*\*\]\(#\S+\)\n\n(.+)$", page, re.MULTILINE)
    return {name: (picture, words) for picture, name, words in found}


def test_every_example_has_a_card_and_nothing_else_has() -> None:
    assert sorted(cards(PAGE)) == sorted(example.name for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_cards_lead_to_pictures_and_sources(example: Path) -> None:
    picture, _ = cards(PAGE)[example.name]
    assert picture == f"images/gallery/{example.stem}.png"
    path = THUMBNAILS / f"{example.stem}.png"
    assert path.stat().st_size <= 25_000
    with Image.open(path) as image:
        assert image.size == (400, 300)
        assert len(image.convert("RGB").getcolors()) > 8
    place = example.relative_to(ROOT).as_posix()
    source = f":::{{literalinclude}} ../{place}" if example.suffix == ".py" else f"`{example.name} <../{place}>`"
    assert f"### {example.name}\n" in PAGE
    assert source in PAGE


def test_thumbnails_are_made_by_the_script() -> None:
    tree = ast.parse((ROOT / "docs" / "thumbnails.py").read_text())
    tables = {
        ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    }
    names = {
        "COMMANDS": [ast.unparse(key) for key in tables["COMMANDS"].keys],
        "DRAW": [ast.unparse(key) for key in tables["DRAW"].keys],
    }
    assert names["COMMANDS"] == names["DRAW"]
    expected = sorted(example.stem for example in EXAMPLES)
    assert sorted(name.strip("'").replace("SHAPES", "your_own_folder") for name in names["DRAW"]) == expected
    assert sorted(path.stem for path in THUMBNAILS.glob("*")) == expected
