"""Files that are written hold the model: other programs load them and answer what it answers."""

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import images_of_sizes, model_of

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import Split
from grapheme_pyg.export import InputFormat, export_onnx, export_program, graph_inputs, read_format

ROOT = Path(__file__).parents[2]
VISION: dict[str, dict[str, Any]] = {
    "grid": {},
    "colour": {"in_channels": 3, "rounds": (1, 2)},
    "blob": {"mode": "blob", "thresholds": (64,), "blob_rounds": 1},
}


class Exported(NamedTuple):
    model: ImageClassificationModel
    onnx: Path
    program: Path
    input_format: InputFormat
    by_onnx: Callable[[dict[str, Any]], list[Any]]
    by_program: Callable[[dict[str, Any]], list[Any]]
    # What the program was written from, in double precision and in training mode, and its values before.
    written_from: ImageClassificationModel
    before: dict[str, torch.Tensor]


def values_of(model: ImageClassificationModel) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}


# To write files takes seconds; the command's test writes one every day.
@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in VISION])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    vision = VISION[request.param]
    images = images_of_sizes(vision.get("in_channels", 1))
    model = model_of(images[:3], vision=vision)
    model.remember(images[:3], torch.tensor([0, 1, 2]))
    model.add_class("three", images[4:6])
    model.add_class(model.classes[1], images[3:4])
    model.calibrate(images[:3], torch.tensor([0, 1, 2]))
    folder = tmp_path_factory.mktemp(request.param)
    onnx, program = folder / "model.onnx", folder / "model.pt2"
    input_format = export_onnx(model, onnx, max_size=64)
    double = copy.deepcopy(model).double().train()
    before = values_of(double)
    assert export_program(double, program, max_size=64) == input_format
    session = onnxruntime.InferenceSession(onnx)
    loaded = torch.export.load(program).module()

    def by_program(arrays: dict[str, Any]) -> list[Any]:
        answers = loaded({name: torch.from_numpy(array) for name, array in arrays.items()})
        return [answers[name].numpy() for name in ("logits", "similarities")]

    names = ["logits", "similarities"]
    return Exported(
        model, onnx, program, input_format, lambda arrays: session.run(names, arrays), by_program, double, before
    )


def check(exported: Exported, images: Any) -> None:
    batch = exported.model.vision.batch(images)
    with torch.no_grad():
        pooled = exported.model.pool(batch)
        expected = exported.model.classifier.logits(pooled), exported.model.classifier.similarities(pooled)
    arrays = graph_inputs(exported.input_format, batch)
    for way in (exported.by_onnx, exported.by_program):
        for came, wanted in zip(way(arrays), expected, strict=True):
            assert came.dtype == np.float32
            np.testing.assert_allclose(came, wanted.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 9, 90])
def test_digits(exported: Exported, digits: tuple[Split, Split], batch_size: int) -> None:
    images = digits[1].images[:100]
    for some in images[: 10 if batch_size == 1 else 100].split(batch_size):
        check(exported, some)


def test_images_of_other_sizes(exported: Exported) -> None:
    images = images_of_sizes(exported.model.vision.in_channels)
    check(exported, images)
    for image in images:
        check(exported, image[None])


def test_no_graphs(exported: Exported) -> None:
    shapes = exported.input_format.inputs
    sizes = {name: tuple(0 if isinstance(size, str) else size for size in shape) for name, shape in shapes.items()}
    arrays = {
        # Lists of pooled nodes have a place at least.
        name: torch.zeros((0, 1) if name.startswith("pooled_") else size, dtype=InputFormat.dtype(name)).numpy()
        for name, size in sizes.items()
    }
    for way in (exported.by_onnx, exported.by_program):
        assert [answer.shape for answer in way(arrays)] == [(0, 4), (0, 4)]


def test_order_of_inputs_is_free(exported: Exported) -> None:
    arrays = graph_inputs(exported.input_format, exported.model.vision(images_of_sizes(1)[0][0]))
    turned = dict(reversed(arrays.items()))
    for way in (exported.by_onnx, exported.by_program):
        assert np.array_equal(way(arrays)[0], way(turned)[0])


def test_files_say_what_they_read(exported: Exported) -> None:
    for path in (exported.onnx, exported.program):
        found = read_format(path)
        assert found == exported.input_format
        assert found.classes == ["zero", "one", "two", "three"]
        assert found.vision == exported.model.vision.config
    onnx.checker.check_model(exported.onnx, full_check=True)
    session = onnxruntime.InferenceSession(exported.onnx)
    inputs = {one.name: (tuple(one.shape), one.type) for one in session.get_inputs()}
    assert {name: shape for name, (shape, _) in inputs.items()} == exported.input_format.inputs
    floats = {name for name, (_, kind) in inputs.items() if kind == "tensor(float)"}
    assert floats == {name for name in inputs if name == "edge_attr" or name.startswith("x_")}


def test_no_library_is_needed(exported: Exported, tmp_path: Path) -> None:
    batch = exported.model.vision.batch(images_of_sizes(1)[:3])
    np.savez(tmp_path / "inputs.npz", **graph_inputs(exported.input_format, batch))
    script = (
        "import sys, numpy, onnxruntime\n"
        "inputs = dict(numpy.load(sys.argv[2]))\n"
        "print(onnxruntime.InferenceSession(sys.argv[1]).run(['logits'], inputs)[0].argmax(1).tolist())\n"
        "assert not {'torch', 'grapheme_pyg'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(exported.onnx), str(tmp_path / "inputs.npz")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with torch.no_grad():
        assert out.strip() == str(exported.model(batch).argmax(dim=1).tolist())


def test_the_model_stays_as_it_is(exported: Exported) -> None:
    assert exported.written_from.training
    after = values_of(exported.written_from)
    assert after.keys() == exported.before.keys()
    for key, value in exported.before.items():
        assert torch.equal(value, after[key]), key
        assert value.dtype == after[key].dtype, key


def test_inputs_in_plain_numpy(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)
    (script,) = [block for block in blocks if "custom_metadata_map" in block]
    batch = exported.model.vision.batch(images_of_sizes(1))
    fields = ("x", "edge_index", "edge_type", "node_type", "level", "batch", "edge_attr")
    monkeypatch.chdir(tmp_path)
    np.savez("graphs.npz", **{name: batch[name].numpy() for name in fields if name in batch})
    shutil.copy(exported.onnx, "model.onnx")
    names: dict[str, Any] = {}
    exec(script, names)
    expected = graph_inputs(exported.input_format, batch)
    assert names["inputs"].keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(names["inputs"][name], array), name
    with torch.no_grad():
        np.testing.assert_allclose(names["answer"], exported.model(batch).numpy(), rtol=0, atol=1e-4)


def test_formats_of_other_versions(exported: Exported) -> None:
    text = exported.input_format.to_json()
    assert InputFormat.from_json(text) == exported.input_format
    with pytest.raises(ValueError, match=r"format: expected \('grapheme_pyg.export', 2\), got .* 1\)"):
        InputFormat.from_json(text.replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(ValueError, match=r"format: expected the fields of version 2, got .*max_sizes"):
        InputFormat.from_json(text.replace('"max_size"', '"max_sizes"'))


class TestRefusals:
    @pytest.mark.parametrize("name", ["text.onnx", "weights.pt"])
    def test_other_files(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        torch.save({"a": torch.zeros(1)}, path) if name == "weights.pt" else path.write_text("no model")
        with pytest.raises(ValueError, match=f"{name}: expected a model that grapheme_pyg has exported"):
            read_format(path)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_format(tmp_path / "missing.onnx")

    def test_without_onnxscript(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(ImportError, match=r"onnxscript is needed to write ONNX: .* -m pip install onnxscript$"):
            export_onnx(model_of(images_of_sizes(1)[:3], vision={}), tmp_path / "model.onnx")
