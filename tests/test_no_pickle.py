"""Nothing in the package unpickles or evaluates what is in a file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import grapheme_pyg

PACKAGE = Path(grapheme_pyg.__file__).parent
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
CALLS = {
    "builtins.eval",
    "builtins.exec",
    "eval",
    "exec",
    "numpy.load",  # safe unless asked to be unsafe: see below
    "pandas.read_pickle",
    "torch.hub.load",
    "torch.jit.load",
    "torch.load",
    "torch.package.PackageImporter",
    "torch_geometric.io.fs.torch_load",
}


def unsafe(source: str) -> list[str]:
    """What a module has that can run code from a file, ``line: what``."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                found += [f"{node.lineno}: import {alias.name}"] * (alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            found += [f"{node.lineno}: from {node.module}"] * (node.module.split(".")[0] in MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = _full_name(node, names)
            if name in CALLS and not _is_safe(name, node, tree):
                found.append(f"{node.lineno}: {name}")
            if name is None and isinstance(node, ast.Attribute) and node.attr == "torch_load":
                found.append(f"{node.lineno}: torch_load")
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {what}" for what in _unsafe_arguments(node, names)]
    return found


def _full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (inner := _full_name(node.value, names)):
        return f"{inner}.{node.attr}"
    return None


def _is_safe(name: str, node: ast.expr, tree: ast.AST) -> bool:
    """Whether it is called at once, with the argument that makes it safe given literally."""
    call = next((it for it in ast.walk(tree) if isinstance(it, ast.Call) and it.func is node), None)
    if call is None:
        return False
    if name == "numpy.load":
        return all(keyword.arg not in ("allow_pickle", None) or _is(keyword, False) for keyword in call.keywords)
    return name == "torch.load" and any(_is(it, True) for it in call.keywords if it.arg == "weights_only")


def _unsafe_arguments(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    keywords = {keyword.arg: keyword for keyword in call.keywords}
    if "weights_only" in keywords and not _is(keywords["weights_only"], True):
        yield "weights_only that is not True"
    resumes = "ckpt_path" in keywords or (isinstance(call.func, ast.Attribute) and "load_from_ch" in call.func.attr)
    if resumes and "weights_only" not in keywords:
        yield "a checkpoint without weights_only=True"
    if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
        yield "allow_pickle"


def _is(keyword: ast.keyword, value: bool) -> bool:
    return isinstance(keyword.value, ast.Constant) and keyword.value.value is value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_runs_nothing_from_files(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


def test_the_package_is_there() -> None:
    paths = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert {"pretrained.py", "training/fit.py", "datasets/graph_cache.py"} <= paths


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=safe)",
        "import torch\ntorch.load(path, **options)",
        "import torch as t\nt.load(path)",
        "from torch import load\nload(path)",
        "from torch import load as read\nread(path)",
        "import torch\nread = torch.load",
        "import torch\nlist(map(torch.load, paths))",
        "import torch\ntorch.jit.load(path)",
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "def f():\n    import marshal",
        "import shelve",
        "import joblib.numpy_pickle",
        "from torch_geometric.io import fs\nfs.torch_load(path)",
        "import torch_geometric\ntorch_geometric.io.fs.torch_load(path)",
        "read().torch_load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=trusted)",
        "import numpy as np\nread = np.load",
        "eval(text)",
        "exec(text)",
        "import builtins\nbuiltins.eval(text)",
        "trainer.fit(module, loader, ckpt_path=path)",
        "trainer.fit(module, loader, ckpt_path=path, weights_only=False)",
        "Module.load_from_checkpoint(path)",
    ],
)
def test_what_could_run_code_is_found(source: str) -> None:
    assert unsafe(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path)\nnp.load(path, allow_pickle=False)",
        "model.eval()",
        "from safetensors.torch import load\nload(content)",
        "trainer.fit(module, loader, ckpt_path=path, weights_only=True)",
    ],
)
def test_what_is_safe_is_not(source: str) -> None:
    assert unsafe(source) == []
