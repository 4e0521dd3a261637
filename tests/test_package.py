"""What importing the package does and does not do."""

import json
import subprocess
import sys

import pytest

import grapheme_pyg

# Those that nobody needs who builds a model and asks it about an image.
HEAVY = {
    *("captum", "gradio", "jsonargparse", "matplotlib", "mlxtend", "networkx", "onnx", "onnxruntime", "PIL"),
    *("pytorch_lightning", "scipy", "sklearn", "skimage", "torchmetrics", "yaml"),
}
# First the names that are public, then every module there is, in a process that may not use the network. An attempt is
# noted, too, since who makes it may catch the error.
IMPORTS = """
import gc, json, sys, warnings
gc.disable()
warnings.simplefilter("ignore")
attempts = []

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        attempts.append(f"{event} {arguments[1:]}")
        raise OSError("no network here")

sys.addaudithook(refuse)
import grapheme_pyg
alone = sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
import grapheme_pyg.datasets
from grapheme_pyg import ClassificationBrain, DagNN, ImageClassificationModel
from grapheme_pyg import Prediction, VisionBrain, list_presets, list_pretrained
usual = sorted({name.partition(".")[0] for name in sys.modules})
from importlib import import_module
from pkgutil import walk_packages
modules = [module.name for module in walk_packages(grapheme_pyg.__path__, "grapheme_pyg.")]
missing = []
for name in modules:
    if not name.endswith(("__main__", "_kernels", *sys.argv[1:])):  # those are a library that is no module
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            missing.append(error.name)
print(json.dumps({"alone": alone, "usual": usual, "modules": modules, "missing": missing, "attempts": attempts}))
gc.freeze()
"""


def test_public_names_exist() -> None:
    for name in grapheme_pyg.__all__:
        assert getattr(grapheme_pyg, name).__name__ == name
        assert name in dir(grapheme_pyg)
    assert grapheme_pyg.nn.DagNN is grapheme_pyg.DagNN
    with pytest.raises(AttributeError, match="has no attribute 'Brain'"):
        grapheme_pyg.Brain  # noqa: B018


# Gradio takes as long as all the others.
@pytest.mark.slow
@pytest.mark.parametrize("left_out", [("demo", "launch", "page"), pytest.param((), marks=pytest.mark.slow)])
def test_what_importing_does(left_out: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS, *left_out], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    # Not even PyTorch, until something is asked for.
    assert not {"torch", "torch_geometric", "numpy"} & set(found["alone"])
    assert {"torch", "torch_geometric"} <= set(found["usual"])
    assert not HEAVY & set(found["usual"])
    assert {"grapheme_pyg.vision.blob", "grapheme_pyg.training.fit", "grapheme_pyg.cli.demo"} <= set(found["modules"])
    # Only what is an extra may be absent.
    assert not [name for name in found["missing"] if name.startswith("grapheme_pyg")]
    assert found["attempts"] == []


def test_an_attempt_to_use_the_network_would_be_seen() -> None:
    attempt = "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass\n"
    script = IMPORTS.split("import grapheme_pyg\n")[0] + attempt + "print(json.dumps(attempts))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [event.split()[0] for event in json.loads(done.stdout)] == ["socket.getaddrinfo"]
