import hashlib
import io
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from model_mutations import join, signed, split
from safetensors.torch import load_file
from systems import needs_posix

from grapheme_pyg import ImageClassificationModel, VisionBrain, model_folder, pretrained
from grapheme_pyg.errors import ModelFileError

load = ImageClassificationModel.from_pretrained
# Fields that models of earlier versions do not have.
OF_LATER = {"sha256", "settings_sha256", "home", "drawings", "residual"}


@pytest.fixture(scope="module")
def tiny() -> ImageClassificationModel:
    return ImageClassificationModel.from_preset("tiny").eval()


@pytest.fixture
def folder(tiny: ImageClassificationModel, tmp_path: Path) -> Path:
    tiny.save_pretrained(tmp_path)
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the config as someone would who then signs it."""
    config, weights = json.loads((folder / "config.json").read_text()), (folder / "model.safetensors").read_bytes()
    change(config)
    (folder / "config.json").write_bytes(signed(config, weights)[0])


def edit_header(folder: Path, change: Callable[[dict[str, Any]], object], more: bytes = b"") -> None:
    """Changes what the weights say of themselves, and signs them."""
    header, tensors = split((folder / "model.safetensors").read_bytes())
    change(header)
    files = signed(json.loads((folder / "config.json").read_text()), join(json.dumps(header), tensors + more))
    for name, content in zip(("config.json", "model.safetensors"), files, strict=True):
        (folder / name).write_bytes(content)


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for name in path[:-1]:
            config = config[name]
        config[path[-1]] = value

    return change


class TestConfig:
    @pytest.mark.parametrize(
        ("path", "value", "expected"),
        [
            (("format",), "other", "format: expected 'grapheme_pyg.ImageClassificationModel', got 'other'"),
            (
                ("format_version",),
                2,
                r"format_version: expected an integer in 1…1, as only newer versions .* larger ones, got 2",
            ),
            (("format_version",), True, "format_version: expected an integer in 1…1, .* got True"),
            (("format_version",), "1", "format_version: expected an integer in 1…1, .* got '1'"),
            (
                ("vision", "features"),
                3,
                r"vision\.features: expected an integer in 1…2, as only newer versions .*, got 3",
            ),
            (("colour",), 1, "colour: expected a known field"),
            (("vision", "colour"), 1, r"vision\.colour: expected an option of mode 'grid', one of \['patch_size', "),
            (("model", "colour"), 1, r"model\.colour: expected a known field"),
            (("memory",), {"num_keys": 1}, r"memory\.added_classes: expected distinct names .*, got no such field"),
            (("memory",), {"num_keys": 1, "added_classes": [], "x": 1}, r"memory\.x: expected a known field"),
            (("vision",), [], r"vision: expected an object, got \[\]"),
            (("vision", "self"), 1, r"vision\..*multiple values for argument 'self'"),
            (
                ("vision", "rounds"),
                [1] * 65,
                r"vision\.rounds: expected text, a number up to \d+, or a list of at most 64",
            ),
            (
                ("vision", "rounds"),
                [[1], 2],
                r"vision\.rounds: expected text, a number up to \d+, or a list of at most 64",
            ),
            (("vision", "patch_size"), {"a": 1}, r"vision\.patch_size: expected text, a number up to"),
            (("vision", "patch_size"), 10**9, r"vision\.patch_size: expected text, a number up to \d+"),
            (("vision", "margin"), float("nan"), r"vision\.margin: expected text, a number up to \d+"),
            (("vision", "margin"), float("inf"), r"vision\.margin: expected text, a number up to \d+"),
            (("vision", "mode"), ["grid"], r"vision\.mode: expected one of .*, got \['grid'\]"),
            (("vision", "mode"), "blob", r"vision\.extend: expected an option of mode 'blob'"),
            (("vision", "in_channels"), True, r"vision\.in_channels: expected 1 or 3, got True"),
            (("vision", "patch_size"), True, r"vision\.patch_size: expected a positive integer, got True"),
            (
                ("vision", "patch_size"),
                10**6,
                r"config\.json: vision\.patch_size: expected at most 4096 values in a cell with its margin, got 10",
            ),
            (("vision", "margin"), 120, r"vision\.margin: expected at most 2\.5 times patch_size, 2, got 120"),
            (
                ("vision", "patch_size"),
                50,
                r"model\.safetensors: dag\.input_weight\.cell0_round0: expected torch\.float32",
            ),
            (("vision", "rounds"), "332", r"vision\.rounds: expected at least two positive integers, got '332'"),
            (
                ("vision", "rounds"),
                [10**6, 2, 1],
                r"vision\.rounds: expected at most 8192 relations in all rounds, got 27000018",
            ),
            (("vision", "rounds"), [3, 2], r"hidden_channels: expected 2 positive integers|relations\."),
            (
                ("vision", "resize"),
                10**6,
                r"vision\.resize: expected an integer in 1…4096, 'training' or None, got 10",
            ),
            (
                ("vision", "edge_attr"),
                True,
                r"model\.safetensors: dag\.edge_weight\..*: expected torch\.float32 .*, got no tensor",
            ),
            (
                ("model", "hidden_channels"),
                [10**6] * 3,
                r"model\.safetensors: dag\.weight\..*: expected .* \[9, 1000000, 1000000\]",
            ),
            (
                ("model", "hidden_channels"),
                [8, 10, 15],
                r"model\.safetensors: dag\..*: expected .* of shape \[9, 10, 15\]",
            ),
            (("model", "hidden_channels"), [8, 10, True], r"model\.hidden_channels: expected integers in 1…16777216"),
            (("model", "hidden_channels"), [8, 10], "hidden_channels: expected 3 positive integers, one for each"),
            (("model", "templates_per_class"), 10**7, r"classifier\.templates: expected .* \[10, 10000000, 16\]"),
            (
                ("model", "embedding_channels"),
                10**17,
                r"model\.embedding_channels: expected an integer in 1…16777216, got 10+",
            ),
            (
                ("model", "embedding_channels"),
                16.0,
                r"model\.embedding_channels: expected an integer in 1…\d+, got 16",
            ),
            (("model", "dropout"), "0", r"model\.dropout: expected a number in \[0, 1\), got '0'"),
            (("model", "dropout"), True, r"model\.dropout: expected a number in \[0, 1\), got True"),
            (("model", "norm"), {}, r"model\.norm: expected one of \('batch', 'layer', None\), got \{\}"),
            (("model", "readout"), None, r"model\.readout: expected one of"),
            (("model", "classes"), 10, r"model\.classes: expected distinct names"),
            (("model", "classes"), ["a"] * 10, r"model\.classes: expected distinct names"),
            (("model", "classes"), ["\x1b[2J", "b"], r"model\.classes: expected distinct names without control"),
            (("model", "classes"), ["\ud800", "b"], r"model\.classes: expected distinct names without control"),
            (
                ("model", "classes"),
                [str(i) for i in range(5000)],
                r"classifier\.templates: expected .* \[5000, 1, 16\]",
            ),
            (
                ("model", "classes"),
                [str(i) for i in range(10**5)],
                r"config\.json: expected at most \d+ bytes, got \d+",
            ),
            (("model", "classes"), ["\u00e9", "e\u0301"], r"classes: expected a positive integer or distinct names"),
            (
                ("relations", "cell0_round0__cell0_round1"),
                [],
                r"relations\.cell0_.*: expected \[.*'self'.*\] in any order, got \[\]",
            ),
            (
                ("relations", "cell0_round0__cell0_round1"),
                [["self"]],
                r"relations\..* in any order, got \[\['self'\]\]",
            ),
            (("relations", "cell0_round0__cell0_round1"), 1, r"relations\..* in any order, got 1"),
            (("relations", "x__y"), ["self"], r"relations\.x__y: expected \[\] in any order, got \['self'\]"),
            (("relations", "\x1b[2J"), ["self"], r"relations\.\\x1b\[2J: expected"),
        ],
    )
    def test_refused(self, folder: Path, path: tuple[str, ...], value: object, expected: str) -> None:
        edit(folder, put(*path, value=value))
        with pytest.raises(ModelFileError, match=expected) as caught:
            load(folder)
        assert str(folder) in str(caught.value)
        assert len(str(caught.value)) < 800

    def test_models_that_do_not_say_so_are_not_of_drawings_and_keep_no_states(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        model = ImageClassificationModel(VisionBrain(in_channels=3), 2, hidden_channels=[2, 2, 2], residual=False)
        model.save_pretrained(tmp_path)
        for name in ("drawings", "residual"):
            edit(tmp_path, lambda config, name=name: config["model"].pop(name))
        loaded, images = load(tmp_path), torch.rand(2, 3, 9, 9)
        assert not loaded.drawings
        assert torch.equal(loaded.predict(images).similarities, model.predict(images).similarities)

    @pytest.mark.parametrize("section", ["model", None])
    def test_no_field_may_be_missing(self, folder: Path, section: str | None) -> None:
        config = json.loads((folder / "config.json").read_text())
        for name in set(config[section] if section else config) - OF_LATER:
            edit(folder, lambda config, name=name: (config[section] if section else config).pop(name))
            with pytest.raises(ModelFileError, match=f"{name}: expected .*, got no such field"):
                load(folder)
            (folder / "config.json").write_text(json.dumps(config))

    def test_models_of_before_load(self, folder: Path, tiny: ImageClassificationModel) -> None:
        config = json.loads((folder / "config.json").read_text())
        del config["settings_sha256"], config["vision"]["resize"], config["vision"]["features"]
        (folder / "config.json").write_text(json.dumps(config))
        images = torch.rand(2, 9, 9)
        assert torch.equal(load(folder).predict(images).similarities, tiny.predict(images).similarities)

    def test_a_changed_setting_is_noticed(self, folder: Path) -> None:
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"threshold": 32', '"threshold": 36'))
        with pytest.raises(ModelFileError, match=r"config\.json: settings_sha256: expected [0-9a-f]{64}, that of the"):
            load(folder)
        (folder / "config.json").write_text(json.dumps(json.loads(text), indent=8, sort_keys=True))
        load(folder)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "Expecting value"),
            (b"[1,]", "got list|Expecting value|Illegal trailing comma"),
            (b"[]", "expected an object, got list"),
            (b'"\xff"', "can't decode byte 0xff"),
            ("\ufeff{}".encode(), "BOM"),
            (b"[" * 100_000, "recursion"),
            (b"1" * 5000, "4300 digits"),
            (b"[" + b"[]," * 200_000 + b"[]]", r"expected at most \d+ bytes, got 600004"),
        ],
    )
    def test_no_settings(self, folder: Path, content: bytes, expected: str) -> None:
        (folder / "config.json").write_bytes(content)
        with pytest.raises(ModelFileError, match=rf"config\.json: .*{expected}"):
            load(folder)


class TestWeights:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                put("x", value={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
                "x: expected no tensor, .* got tor",
            ),
            (put("classifier.templates", "shape", value=[10, 16]), r"expected .* \[10, 1, 16\], as config"),
            (put("classifier.templates", "dtype", value="I32"), r"classifier.templates: expected torch.float32"),
            (put("classifier.log_temperature", "dtype", value="I32"), r"log_temperature: expected torch.float32"),
            # Refused by safetensors.
            (lambda header: header.pop("classifier.templates"), ""),
            (put("classifier.templates", "shape", value=[10, 1, 10**9]), ""),
            (put("classifier.templates", "shape", value=[2**32, 2**32, 2**32]), ""),
            (put("classifier.templates", "dtype", value="F8_E8M0"), ""),
            (put("classifier.templates", "dtype", value="F4"), ""),
            (put("classifier.templates", "dtype", value="C64"), ""),
            (put("classifier.templates", "data_offsets", value=[0, 640]), ""),
            (put("classifier.templates", value=None), ""),
        ],
    )
    def test_headers_that_lie(self, folder: Path, change: Callable[[dict[str, Any]], object], expected: str) -> None:
        edit_header(folder, change)
        with pytest.raises(ModelFileError, match=rf"model\.safetensors: .*{expected}"):
            load(folder)

    def test_more_than_the_tensors(self, folder: Path) -> None:
        edit_header(folder, lambda header: None, bytes(1000))
        with pytest.raises(ModelFileError, match=r"model\.safetensors: .*incomplete"):
            load(folder)

    @pytest.mark.parametrize("content", [b"", b"\x01", bytes(8), b"\xff" * 8 + b"{}", b"\x02" + bytes(7) + b"[]"])
    def test_no_header(self, folder: Path, content: bytes) -> None:
        config, _ = signed(json.loads((folder / "config.json").read_text()), content)
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"model\.safetensors: .*header"):
            load(folder)

    def test_very_many_empty_tensors_are_not_read(self, folder: Path) -> None:
        # Python takes more than ten times as much for a tensor as the header does.
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        edit_header(folder, lambda header: header.update({str(i): empty for i in range(400)}))
        with pytest.raises(ModelFileError, match=r"model\.safetensors: header: expected at most \d+ bytes, got \d+"):
            load(folder)

    @pytest.mark.parametrize("size", [2**17, 2**40])
    def test_a_large_file_is_refused_unread(self, folder: Path, size: int) -> None:
        os.truncate(folder / "model.safetensors", size)  # takes no space on disk
        with pytest.raises(ModelFileError, match=rf"model\.safetensors: expected at most \d+ bytes, got {size}"):
            load(folder)

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("classifier.templates", float("nan"), "expected finite values, got nan"),
            ("dag.input_weight.cell0_round0", float("-inf"), "expected finite values, got -inf"),
            ("dag.norm.cell1_round0.running_var", -1.0, "expected no negative variance, got -1"),
            ("classifier.log_temperature", 90.0, "expected a logarithm of a temperature in -20…20, got 90"),
        ],
    )
    def test_values(self, folder: Path, tmp_path: Path, name: str, value: float, expected: str) -> None:
        model = load(folder)
        tensor = model.state_dict()[name]
        tensor.view(-1)[-1] = value
        with pytest.raises(ModelFileError, match=expected):
            model.save_pretrained(tmp_path / "other")
        header, tensors = split((folder / "model.safetensors").read_bytes())
        changed = bytearray(tensors)
        stop = header[name]["data_offsets"][1]
        changed[stop - 4 : stop] = torch.tensor([value]).numpy().tobytes()
        weights = join(json.dumps(header), bytes(changed))
        config, _ = signed(json.loads((folder / "config.json").read_text()), weights)
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(weights)
        with pytest.raises(ModelFileError, match=rf"model\.safetensors: {name}: {expected}"):
            load(folder)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions(self, folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
        model = load(folder).to(dtype)
        model.save_pretrained(tmp_path / "other")
        loaded = load(tmp_path / "other")
        for name, value in model.state_dict().items():
            if isinstance(value, torch.Tensor):
                assert loaded.state_dict()[name].dtype == dtype
                assert torch.equal(loaded.state_dict()[name], value)
        model.classifier.float()
        with pytest.raises(ModelFileError, match=r"model: expected parameters of one dtype, got \['torch\."):
            model.save_pretrained(tmp_path / "mixed")

    def test_as_the_library_reads_them(self, folder: Path) -> None:
        expected, came = load_file(folder / "model.safetensors"), load(folder).state_dict()
        assert expected.keys() == came.keys() - {"dag._extra_state"}
        for name, value in expected.items():
            assert came[name].dtype == value.dtype
            assert torch.equal(came[name], value)
            assert came[name].data_ptr() % 64 == 0

    def test_later_changes_of_the_file_change_no_model(self, folder: Path) -> None:
        model = load(folder)
        before = model.classifier.templates.clone()
        path = folder / "model.safetensors"
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        assert torch.equal(model.classifier.templates, before)

    def test_loaded_weights_learn(self, folder: Path) -> None:
        model = load(folder)
        model.train()(model.vision.batch(torch.rand(4, 9, 9))).sum().backward()
        assert all(parameter.grad is not None for parameter in model.classifier.parameters())
        assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


class TestKindsOfFiles:
    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    @needs_posix
    def test_no_regular_files(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        for make in (
            os.mkfifo,
            Path.mkdir,
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to(path),
        ):
            (folder / name).unlink()
            make(folder / name)
            with pytest.raises(
                ModelFileError, match=rf"{name}: (expected a regular file, got|.*symbolic links|.*[Dd]irectory)"
            ):
                load(folder)
            (folder / name).rmdir() if make is Path.mkdir else (folder / name).unlink()
            (folder / name).write_bytes(content)
        (folder / name).rename(folder / "elsewhere")
        (folder / name).symlink_to(folder / "elsewhere")
        load(folder)
        (folder / "elsewhere").unlink()
        with pytest.raises(FileNotFoundError, match=name):
            load(folder)

    @needs_posix
    def test_a_file_in_place_of_the_folder(self, folder: Path) -> None:
        with pytest.raises(ModelFileError, match=r"config\.json: expected a folder of a model, got a file"):
            load(folder / "config.json")

    def test_the_folder_of_a_run(self, tiny: ImageClassificationModel, tmp_path: Path) -> None:
        tiny.save_pretrained(tmp_path / "model")
        with pytest.raises(
            FileNotFoundError, match=r"config\.json: expected a file of a model, got none; there is one in"
        ):
            load(tmp_path)
        with pytest.raises(FileNotFoundError, match="expected a folder of a model or one of mnist-base, "):
            load(tmp_path / "missing")

    def test_saving_again_leaves_two_files(self, folder: Path, tiny: ImageClassificationModel) -> None:
        mode = stat.S_IMODE((folder / "config.json").stat().st_mode)
        umask = os.umask(0)
        os.umask(umask)
        assert mode == 0o666 & ~umask
        tiny.save_pretrained(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]

    def test_no_memory(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(pretrained, "load", full)
        with pytest.raises(ModelFileError, match="expected a model that fits into memory"):
            load(folder)


@pytest.fixture
def other(folder: Path) -> ImageClassificationModel:
    """Another model than the one in the folder."""
    made = load(folder)
    torch.nn.init.normal_(made.classifier.templates)
    return made


class TestSavingOverAModel:
    """Of what happens meanwhile, each call that touches the disk is tried as the one that fails, or is the last."""

    CALLS = ((os, "open"), (io, "open"), (os, "fsync"), (os, "replace"), (os, "unlink"), (os, "mkdir"))

    def save(self, model: ImageClassificationModel, folder: Path, at: int, error: BaseException) -> int:
        """Saves, with an error at one call, or at all calls from then on as if the process was killed; counts calls."""
        count = 0

        def failing(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == at or (count > at and isinstance(error, KeyboardInterrupt)):
                    raise error
                return function(*arguments, **options)

            return call

        with pytest.MonkeyPatch.context() as patch, suppress(OSError, KeyboardInterrupt):
            for module, name in self.CALLS:
                patch.setattr(module, name, failing(getattr(module, name)))
            model.save_pretrained(folder)
        return count

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left")], ids=["kill", "error"])
    def test_leaves_one_of_the_two(self, folder: Path, other: ImageClassificationModel, error: BaseException) -> None:
        before, found, at, done = load(folder), [], 0, False
        while not done:
            at += 1
            before.save_pretrained(folder)
            done = self.save(other, folder, at, error) < at
            templates = load(folder).classifier.templates
            found.append(torch.equal(templates, other.classifier.templates))
            assert found[-1] or torch.equal(templates, before.classifier.templates)
            # Another one at the same place: what is left is put in order, whichever model it is of.
            self.save(before, folder, at, error)
            load(folder)
        assert 5 < sum(not new for new in found) < at - 3
        # What is killed early leaves the old one, and then the new one; of the errors some are no matter.
        assert found == sorted(found) or isinstance(error, OSError)
        before.save_pretrained(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]

    def test_the_first_time(self, tmp_path: Path, tiny: ImageClassificationModel) -> None:
        # A model is there, or none.
        for at in range(1, self.save(tiny, tmp_path / "whole", 0, OSError())):
            self.save(tiny, tmp_path / str(at), at, KeyboardInterrupt())
            with suppress(FileNotFoundError):
                load(tmp_path / str(at))
            tiny.save_pretrained(tmp_path / str(at))
            assert len(list((tmp_path / str(at)).iterdir())) == 2

    @pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
    def test_while_it_is_loaded(
        self, folder: Path, other: ImageClassificationModel, late: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Settings were read: the other model is saved before, or after, the weights are opened.
        open_weights, saved = model_folder._open_weights, []

        def opening(folder: Path, settings: bytes) -> object:
            opened = open_weights(folder, settings) if late else None
            if not saved:
                saved.append(other.save_pretrained(folder))
            return opened or open_weights(folder, settings)

        monkeypatch.setattr(model_folder, "_open_weights", opening)
        assert torch.equal(load(folder).classifier.templates, other.classifier.templates)

    @needs_posix
    def test_temporary_files_follow_no_links(self, folder: Path, tiny: ImageClassificationModel) -> None:
        outside = folder / "outside"
        outside.write_bytes(b"mine")
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        for name in ("config.json.part", "model.safetensors.part", f"model-{weights}.safetensors"):
            (folder / name).symlink_to(outside)
        tiny.save_pretrained(folder)
        load(folder)
        assert outside.read_bytes() == b"mine"


class TestWhatCannotBeSavedIsNotMade:
    @pytest.mark.parametrize(
        ("classes", "options", "expected"),
        [
            (["a\n", "b"], {}, r"classes: expected names without control characters, got 'a\\n'"),
            (["caf\udce9", "b"], {}, r"classes: expected names without control characters, got 'caf\\udce9'"),
            (["a" * 2**20, "b"], {}, r"expected at most \d+ bytes, got \d+ for weights"),
            (10**5, {"embedding_channels": 1}, r"expected at most \d+ bytes, got \d+ for weights"),
            (2, {"vision": {"min_area": 2**24 + 1}}, r"vision\.min_area: expected text, a number up to"),
        ],
    )
    def test_refused(self, classes: object, options: dict[str, Any], expected: str) -> None:
        with pytest.raises(ValueError, match=expected):
            ImageClassificationModel(VisionBrain("blob", **options.pop("vision", {})), classes, **options)

    @pytest.mark.parametrize("name", ["a\tb", "a" * 2**18])
    def test_no_such_class_is_added(self, folder: Path, name: str) -> None:
        model = load(folder)
        model.remember(torch.rand(2, 9, 9), [0, 1])
        with pytest.raises(ValueError, match=r"expected names without control|expected at most"):
            model.add_class(name, torch.rand(1, 9, 9))
        assert len(model.classes) == 10
        model.save_pretrained(folder)
        load(folder)

    def test_twenty_thousand_classes(self, tmp_path: Path) -> None:
        model = ImageClassificationModel.from_preset("tiny", 20_000, embedding_channels=1).eval()
        model.save_pretrained(tmp_path)
        assert load(tmp_path).classes == model.classes
