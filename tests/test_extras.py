"""What is installed by extras, and what errors say where one is missing."""

import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from grapheme_pyg.extras import PACKAGES, missing
from grapheme_pyg.runs import _tensorboard_log

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()}

PIP = f"{Path(sys.executable).name} -m pip install"


def packages_of(extra: str) -> set[str]:
    """The packages of an extra and of the extras that it includes."""
    found = set()
    for requirement in EXTRAS[extra]:
        if requirement.name == PROJECT["name"]:
            found |= set().union(*map(packages_of, requirement.extras))
        else:
            found.add(requirement.name)
    return found


@pytest.mark.parametrize("extra", PACKAGES)
def test_errors_name_all_packages_of_an_extra(extra: str) -> None:
    assert set(PACKAGES[extra]) == packages_of(extra)


def test_extras_include_extras_that_exist() -> None:
    included = {
        extra for texts in EXTRAS.values() for one in texts if one.name == PROJECT["name"] for extra in one.extras
    }
    assert included
    assert included <= EXTRAS.keys()


def test_errors_name_the_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "plot", ("torch", "no-such-package-1", "numpy", "no-such-package-2"))
    assert str(missing("x", "to draw", "plot")).endswith(f": {PIP} no-such-package-1 no-such-package-2")
    # What is installed but does not work, too; and all if it is not known which does not.
    assert str(missing("numpy.x", "to draw", "plot")).endswith("install no-such-package-1 numpy no-such-package-2")
    monkeypatch.setitem(PACKAGES, "plot", ("torch", "numpy"))
    assert str(missing("x", "to draw", "plot")).endswith(f": {PIP} torch numpy")


@pytest.mark.parametrize(
    ("package", "module", "message"),
    [
        ("visualization", "networkx", f"networkx is needed to draw: {PIP} networkx"),
        ("cli.draw", "matplotlib", f"matplotlib is needed to draw: {PIP} matplotlib"),
        ("cli.explain", "matplotlib", f"matplotlib is needed to draw: {PIP} matplotlib"),
        (
            "sklearn",
            "sklearn.base",
            f"sklearn is needed in version 1.6 or later for GraphemeClassifier: {PIP} scikit-learn",
        ),
        ("demo", "gradio", f"gradio is needed for the demo: {PIP} gradio"),
    ],
)
def test_packages_that_need_an_extra(package: str, module: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (package, "visualization"):
        monkeypatch.delitem(sys.modules, f"grapheme_pyg.{name}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        import_module(f"grapheme_pyg.{package}")


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=f"tensorboard is needed to write TensorBoard logs: {PIP} tensorboard"):
        _tensorboard_log(tmp_path)
