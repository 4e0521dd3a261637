"""The pages: every public name is on one, every block of code is run, and they build without a warning."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from pydoc import locate

import pytest

import grapheme_pyg

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("[!_]*.md"))
# With public names of their own; further ones are found by their __all__.
WITHOUT_ALL = ("evaluation", "report", "testing", "presets", "calibration", "dag", "runs", "errors")
OPTIONS = ("-W", "--keep-going", "-q", "-b", "html")
AUTO = re.compile(r"^\.\. auto(?P<kind>\w+):: (?P<name>[\w.]+)(?:\(.*\))?(?P<options>(?:\n   :.*)*)", re.MULTILINE)


def packages():
    names = ["grapheme_pyg"]
    for module in iter_modules(grapheme_pyg.__path__, "grapheme_pyg."):
        if module.name.endswith(("__main__", "_kernels")):
            continue
        if hasattr(import_module(module.name), "__all__") or module.name.removeprefix("grapheme_pyg.") in WITHOUT_ALL:
            names.append(module.name)
    return names


def public_names(name):
    """The names in a module's __all__, or else all that it defines itself and that start without an underscore."""
    module = import_module(name)
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == name]
    return getattr(module, "__all__", [key for key in own if callable(vars(module)[key]) and not key.startswith("_")])


def documented(pages):
    """The objects that directives on these pages describe."""
    found = []
    for kind, name, options in AUTO.findall("\n".join(pages)):
        if kind != "module":
            found.append(locate(name))
        elif ":members:" in options:
            left_out = re.findall(r"[\w]+", "".join(re.findall(r":exclude-members:(.*)", options)))
            found += [getattr(import_module(name), key) for key in public_names(name) if key not in left_out]
    return found


def missing(pages):
    known = {id(value) for value in documented(pages)}
    return [
        f"{name}.{key}" for name in packages() for key in public_names(name) if id(locate(f"{name}.{key}")) not in known
    ]


@pytest.mark.slow
def test_every_public_name_is_on_a_page():
    assert {"grapheme_pyg", "grapheme_pyg.datasets", "grapheme_pyg.vision", "grapheme_pyg.testing"} <= set(packages())
    assert missing([page.read_text() for page in PAGES]) == []


@pytest.mark.slow
def test_a_missing_name_is_noticed():
    pages = [page.read_text() for page in PAGES]
    assert missing([page.replace("autofunction:: grapheme_pyg.list_presets", "") for page in pages]) == [
        "grapheme_pyg.list_presets",
        "grapheme_pyg.presets.list_presets",
    ]
    without = [page.replace(":exclude-members: Preset", ":exclude-members: Preset, default_widths") for page in pages]
    assert missing(without) == ["grapheme_pyg.presets.default_widths"]
    drawn = missing([page for page in pages if "automodule:: grapheme_pyg.visualization" not in page])
    assert set(drawn) >= {"grapheme_pyg.visualization.draw_dag", "grapheme_pyg.visualization.to_networkx"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_is_run_or_no_python(page):
    # Fences of these kinds are shown as they are; one of Python is run when the pages are built.
    fences = re.findall(r"^```(\S+)", page.read_text(), re.MULTILINE)
    assert set(fences) <= {"python", "sh", "text", "{eval-rst}", "{include}", "{toctree}"}


@pytest.mark.slow
def test_pages_build_without_a_warning(tmp_path):
    inventory = pytest.importorskip("sphinx.util.inventory")
    done = build(DOCS, tmp_path)
    # A warning makes the code non-zero; libraries may log what they do.
    assert done.returncode == 0, done.stderr
    objects = inventory.InventoryFile.loads((tmp_path / "objects.inv").read_bytes(), uri="").data
    known = {id(locate(name)) for kind, names in objects.items() if kind.startswith("py:") for name in names}
    assert [n for p in packages() for key in public_names(p) if id(locate(n := f"{p}.{key}")) not in known] == []
    assert "accuracy" in (tmp_path / "start.html").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Of two pages, one with errors and one without: exit code, warnings, and where the pages are. In one process."""
    pytest.importorskip("furo")
    first = "from matplotlib.figure import Figure\nfigure = Figure(figsize=(1, 1))\nprint(6 * 7)\n'a' + 'b'"
    pages = {
        "broken": ("1 / 0", "print('fine')\nassert 1 == 2", "1 +", "undefined"),
        "good": (first, "figure"),
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in pages}
    commands = [
        [
            *OPTIONS,
            "-w",
            str(folders[name] / "warnings"),
            str(one_page(folders[name], *blocks)),
            str(folders[name] / "out"),
        ]
        for name, blocks in pages.items()
    ]
    script = "import json, sys; from sphinx.cmd.build import main; print([main(c) for c in json.loads(sys.argv[1])])"
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)], capture_output=True, text=True, check=True
    )
    codes = dict(zip(pages, json.loads(done.stdout), strict=True))
    return {name: (codes[name], (folder / "warnings").read_text(), folder / "out") for name, folder in folders.items()}


@pytest.mark.slow
def test_errors_in_code_fail_the_build(built):
    code, warnings, _ = built["broken"]
    assert code != 0
    named = re.findall(r"^ *(\w+Error)\b", warnings, re.MULTILINE)
    assert named == ["ZeroDivisionError", "AssertionError", "SyntaxError", "NameError"]


@pytest.mark.slow
def test_code_shows_what_it_prints_and_draws(built):
    code, warnings, folder = built["good"]
    assert (code, warnings) == (0, "")
    page = (folder / "index.html").read_text()
    output = re.search(r'<div class="[^"]*output.*?</pre>', page, re.DOTALL)
    assert re.sub("<.*?>", "", output[0]).split() == ["42", "'ab'"]
    assert len(list((folder / "_images").glob("*.png"))) == 1
    assert page.count("<img") == 1


def one_page(folder, *blocks):
    source = folder / "source"
    (source / "static").mkdir(parents=True)
    (source / "static" / "pages.css").touch()
    for name in ("conf.py", "executed.py"):
        (source / name).write_text((DOCS / name).read_text())
    (source / "index.md").write_text("# Page\n\n" + "".join(f"```python\n{block}\n```\n\n" for block in blocks))
    return source


def build(source, target):
    command = [sys.executable, "-m", "sphinx", *OPTIONS, str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
