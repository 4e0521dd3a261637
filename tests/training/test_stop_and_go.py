"""Training that is stopped and goes on: the same to the last bit; signals; what is on disk whatever happens."""

import csv
import hashlib
import shutil
import signal
import threading
import warnings

import pytest
import torch
from safetensors.torch import save
from systems import needs_posix

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.errors import CheckpointError, TrainingError, TrainingWarning
from grapheme_pyg.training.checkpoints import newest_checkpoint, read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
TIMES = ("graphs_per_second", "seconds")


@pytest.fixture(scope="module")
def few(small_digits):
    return small_digits.images[:110], small_digits.labels[:110]


@pytest.fixture(scope="module")
def validated(few, tmp_path_factory):
    """The folder of a run that nothing stopped, with validation. Tests that write in it take a copy."""
    return whole_run(few, tmp_path_factory.mktemp("validated"), validation=few)


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """As `validated`, without validation."""
    return whole_run(few, tmp_path_factory.mktemp("whole"))


def whole_run(few, folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        fit(make(), *few, settings=settings(), run_dir=folder, verbose=False, **options)
    return folder


def make(vision=None, **arguments):
    torch.manual_seed(0)
    return ImageClassificationModel(vision or VisionBrain(), hidden_channels=(8, 12, 16), **arguments)


class Stop(Exception):  # noqa: N818
    pass


def stop_after(model, passes, action=None):
    """Interrupts the forward pass after so many."""
    count = 0

    def hook(*_):
        nonlocal count
        count += 1
        if count > passes:
            if action is None:
                raise Stop
            action()

    return model.dag.register_forward_pre_hook(hook)


def settings(**given):
    return TrainingSettings(**{"epochs": 2, "batch_size": 20, "device": "cpu", "checkpoint_every": 1} | given)


def outcome(run_dir):
    """All of a run that is not a time: what its last checkpoint holds and its loss log."""
    state = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    del state["run"], state["seconds"]
    state["metrics"] = [{key: value for key, value in row.items() if key not in TIMES} for row in state["metrics"]]
    with (run_dir / "metrics.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]
    return state, rows


def assert_equal(one, other, where=""):
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}[{i}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def all_finite(state):
    return all(bool(torch.isfinite(value).all()) for value in state.values() if isinstance(value, torch.Tensor))


OPTIONS = [
    ({}, {}),
    pytest.param({"template_update": "momentum"}, {"accumulate": 2, "checkpoint_every": 2}, marks=pytest.mark.slow),
    pytest.param({}, {"optimizer": "adamw", "averaging": 0.0, "loader": "pyg"}, marks=pytest.mark.slow),
    pytest.param({"norm": "layer"}, {"num_workers": 2, "checkpoint_every": 0}, marks=pytest.mark.slow),
    # Its features are whitened.
    ({"vision": VisionBrain("superpixel", in_channels=3, num_regions=9)}, {}),
]


@pytest.mark.parametrize(("arguments", "given"), OPTIONS, ids=str)
def test_a_run_that_is_stopped_anywhere_ends_the_same(arguments, given, few, tmp_path):
    chosen, whole = settings(**given), tmp_path / "whole"
    fit(make(**arguments), *few, validation=few, settings=chosen, run_dir=whole, verbose=False)
    # Six batches and one pass of validation make an epoch; stopped again and again in one run.
    stopped = tmp_path / "stopped"
    for passes in (3, 4, 1, 2):
        model = make(**arguments)
        stop_after(model, passes)
        with pytest.raises(Stop):
            fit(model, *few, validation=few, settings=chosen, run_dir=stopped, resume=True, verbose=False)
    fit(make(**arguments), *few, validation=few, settings=chosen, run_dir=stopped, resume=True, verbose=False)
    assert_equal(outcome(stopped), outcome(whole))


def test_nothing_of_an_epoch_is_done_twice(few, tmp_path):
    model, passes = make(), 0

    def count(module, _):
        nonlocal passes
        passes += module.training

    stop_after(model, 4)
    with pytest.raises(Stop):
        fit(model, *few, settings=settings(epochs=1), run_dir=tmp_path, verbose=False)
    model = make()
    model.dag.register_forward_pre_hook(count)
    fit(model, *few, settings=settings(epochs=1), run_dir=tmp_path, resume=True, verbose=False)
    assert passes == 2


def test_resume_before_anything_was_saved_begins(few, tmp_path):
    rows = fit(make(), *few, settings=settings(epochs=1), run_dir=tmp_path, resume=True, verbose=False)
    assert len(rows) == 1


class TestOnDisk:
    def test_a_damaged_checkpoint_falls_back(self, few, whole, tmp_path):
        run = tmp_path / "run"
        model = make()
        stop_after(model, 9)
        with pytest.raises(Stop):
            fit(model, *few, settings=settings(), run_dir=run, verbose=False)
        path = run / "checkpoints" / "last.ckpt"
        steps = read_checkpoint(path)["step"], read_checkpoint(path.with_name("previous.ckpt"))["step"]
        assert steps == (9, 8)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.warns(UserWarning, match=r"last\.ckpt: expected .* with its checksum.*going on from .*, step 8"):
            fit(make(), *few, settings=settings(), run_dir=run, resume=True, verbose=False)
        assert_equal(outcome(run), outcome(whole))

    def test_both_damaged(self, few, tmp_path):
        fit(make(), *few, settings=settings(epochs=1), run_dir=tmp_path, verbose=False)
        for path in (tmp_path / "checkpoints").iterdir():
            path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match=r"last\.ckpt: expected a checkpoint"):
            newest_checkpoint(tmp_path)

    def test_what_runs_when_unpickled_does_not(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return (open, (str(tmp_path / "canary"), "w"))

        path = tmp_path / "last.ckpt"
        torch.save({"epoch": Payload()}, path)
        with pytest.raises(CheckpointError, match="expected a checkpoint"):
            read_checkpoint(path)
        assert not (tmp_path / "canary").exists()

    def test_other_files_are_none(self, tmp_path):
        path = tmp_path / "last.ckpt"
        torch.save({"epoch": 1}, path)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: expected a checkpoint"):
            read_checkpoint(path)
        for metadata in (None, {"epoch": "1"}, {"state": "[]"}):
            content = save({"model.weight": torch.zeros(2)}, metadata)
            path.write_bytes(content + hashlib.sha256(content).digest())
            with pytest.raises(CheckpointError, match=r"expected a checkpoint of .*, got \(None, None\)"):
                read_checkpoint(path)

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"lr": 0.001}, r"settings\.lr = 0\.001, got 0\.008"),
            ({"epochs": 1}, r"settings\.epochs = 1 or fewer, got 2"),
        ],
    )
    def test_another_run(self, given, expected, few, whole, tmp_path):
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        model = make()
        model.remember(*few)
        memory = model.classifier.memory
        with pytest.raises(CheckpointError, match=expected):
            fit(model, *few, settings=settings(**given), run_dir=tmp_path, resume=True, verbose=False)
        assert model.classifier.memory is memory

    def test_other_models_and_data(self, few, whole, tmp_path):
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        with pytest.raises(CheckpointError, match=r"model\.norm = 'layer', got 'batch'"):
            fit(make(norm="layer"), *few, settings=settings(), run_dir=tmp_path, resume=True, verbose=False)
        fewer = few[0][:100], few[1][:100]
        with pytest.raises(CheckpointError, match=r"data\.images = 100, got 110"):
            fit(make(), *fewer, settings=settings(), run_dir=tmp_path, resume=True, verbose=False)
        others = few[0].flip(0), few[1]
        with pytest.raises(CheckpointError, match=r"data\.pixels_crc32 = \d+, got \d+"):
            fit(make(), *others, settings=settings(), run_dir=tmp_path, resume=True, verbose=False)

    @needs_posix
    def test_a_full_disk_leaves_what_is_there(self, few, tmp_path):
        import resource  # not on Windows

        # The system refuses to let files grow beyond what the first checkpoint takes.
        model = make()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        stop_after(model, 3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1])))
        try:
            with pytest.raises(CheckpointError, match=r"last\.ckpt: expected to write .* bytes, got File too large"):
                fit(model, *few, settings=settings(), run_dir=tmp_path, verbose=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert newest_checkpoint(tmp_path)[1]["step"] == 3
        assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last.ckpt", "previous.ckpt"]


class TestSignals:
    @pytest.mark.parametrize(
        ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)], ids=str
    )
    @pytest.mark.parametrize("passes", [3, 6], ids=["in a step", "in validation"])
    def test_the_step_is_finished_and_saved(self, number, raised, passes, few, validated, tmp_path, capfd):
        run = tmp_path / "run"
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        model = make()
        hook = stop_after(model, passes, lambda: (hook.remove(), signal.raise_signal(number)))
        every = settings(checkpoint_every=0)
        with pytest.raises(raised) as caught:
            fit(model, *few, validation=few, settings=every, run_dir=run, verbose=False)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        if raised is SystemExit:
            assert caught.value.code == 143
        saved = min(passes + 1, 6)
        assert f"stopped by {number.name} after step {saved}; step {saved} is saved" in capfd.readouterr().err
        assert newest_checkpoint(run)[1]["step"] == saved
        fit(make(), *few, validation=few, settings=settings(), run_dir=run, resume=True, verbose=False)
        assert_equal(outcome(run), outcome(validated))

    def test_without_a_folder_nothing_is_saved(self, few, capfd):
        model = make()
        stop_after(model, 2, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            fit(model, *few, settings=settings(), verbose=False)

    def test_training_in_another_thread_hears_none(self, few):
        rows = []
        options = {"settings": settings(epochs=1), "verbose": False}
        thread = threading.Thread(target=lambda: rows.extend(fit(make(), *few, **options)))
        thread.start()
        thread.join()
        assert len(rows) == 1


class TestNonfinite:
    @staticmethod
    def poison(model, batch):
        """Makes the gradient of one batch of the first epoch infinite."""
        count = 0

        def hook(gradient):
            nonlocal count
            count += 1
            return gradient * torch.inf if count == batch else gradient

        model.classifier.templates.register_hook(hook)

    def test_it_stops_within_the_step(self, few, tmp_path):
        model = make()
        self.poison(model, 4)
        with pytest.raises(
            TrainingError, match=r"loss: .* gradient of norm (inf|nan) at step 4 \(epoch 1\), samples "
        ) as caught:
            fit(model, *few, settings=settings(), run_dir=tmp_path, verbose=False)
        assert len(str(caught.value).split("samples ")[1].split(", ")) == 20
        found = newest_checkpoint(tmp_path)[1]
        assert found["step"] == 3
        assert all(torch.isfinite(value).all() for value in found["model"].values() if isinstance(value, torch.Tensor))

    def test_the_samples_are_named(self, few):
        model = make()
        labels = few[1]
        inside = model.classifier.similarities

        def broken(pooled):
            similarities = inside(pooled)
            if model.training and similarities.shape[0] == 20:
                similarities = similarities.index_fill(0, torch.tensor([2, 7]), torch.nan)
            return similarities

        model.classifier.similarities = broken
        order = torch.randperm(110, generator=torch.Generator().manual_seed(0)).tolist()
        with pytest.raises(TrainingError, match=rf"loss nan .* at step 1 \(epoch 1\), samples {order[2]}, {order[7]}$"):
            fit(model, few[0], labels, settings=settings(), verbose=False)

    @pytest.mark.parametrize("optimizer", ["muon", "adamw"])
    def test_or_skips_the_step(self, optimizer, few):
        model = make(template_update="gradient")
        self.poison(model, 4)
        seen = []
        model.dag.register_forward_pre_hook(lambda *_: seen.append({k: v.clone() for k, v in model.named_parameters()}))
        rows = fit(
            model,
            *few,
            settings=settings(nonfinite="skip", optimizer=optimizer, averaging=0.0, epochs=1),
            verbose=False,
        )
        # The fifth pass finds what the fourth found; the sixth does not.
        assert all(torch.equal(seen[4][name], seen[3][name]) for name in seen[3])
        assert not all(torch.equal(seen[5][name], seen[4][name]) for name in seen[4])
        assert all(
            torch.isfinite(weight).all() for weight in model.state_dict().values() if isinstance(weight, torch.Tensor)
        )
        assert rows[0]["train_loss"] < 5

    def test_weights_that_overflow_are_not_saved(self, few, tmp_path):
        with pytest.raises(TrainingError):
            fit(make(), *few, settings=settings(lr=1e37, kernel_lr=1e37), run_dir=tmp_path, verbose=False)
        found = newest_checkpoint(tmp_path)
        if found is not None:
            assert all_finite(found[1]["model"])
