"""Each part of the package has a page of the reference, which the overview links."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api"


def test_each_subpackage_has_a_page() -> None:
    folders = {path.parent.name for path in (ROOT / "grapheme_pyg").glob("*/__init__.py")}
    # Its one public function is imported from the package itself.
    folders.remove("weights")
    assert folders - {page.stem for page in API.glob("*.md")} == set()


def test_the_overview_links_each_page() -> None:
    linked = re.findall(r"^\| \[(\S+)\]\((\w+)\.md\) \| .+ \|$", (API / "index.md").read_text(), re.MULTILINE)
    assert sorted(page for _, page in linked) == sorted(page.stem for page in API.glob("*.md") if page.stem != "index")
    assert all(module.rpartition(".")[2] == page for module, page in linked)


def test_pages_begin_with_the_name_of_the_module_and_a_sentence() -> None:
    for page in API.glob("*.md"):
        title, _, first, *_ = page.read_text().split("\n")
        if page.stem != "index":
            module = "grapheme_pyg" if page.stem == "grapheme_pyg" else f"grapheme_pyg.{page.stem}"
            assert title == f"# {module}"
            assert re.match(r"[A-Z{\[]", first), page
