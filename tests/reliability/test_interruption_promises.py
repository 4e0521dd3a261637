"""Predictions that are interrupted, or made beside training: nothing of them is left, and nothing else is changed."""

import gc
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from cases import SEEDS, TIMES, cases
from hypothesis import given
from made_graphs import MODES
from test_thread_promises import bits, images_of, model_of, state_of
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit


class Interrupted(Exception):  # noqa: N818 - as KeyboardInterrupt is called
    """What a signal handler raises."""


def surroundings(model: ImageClassificationModel) -> dict[str, Any]:
    """All that an interrupted prediction must leave as it was."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    process = {"dtype": torch.get_default_dtype(), "gradients": torch.is_grad_enabled(), "random": random.getstate()}
    return state_of(model) | process | {"autocast": torch.is_autocast_enabled("cpu"), "handlers": handlers}


@contextmanager
def raising() -> Iterator[None]:
    """SIGALRM raises."""

    def handle(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handle)
    # What is raised in Hypothesis's callback of the collector is lost, and a warning.
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.callbacks[:] = callbacks


def interrupted(function: Callable[[], Any], seconds: float) -> bool:
    """Whether a signal came into a call, which was to come after so many seconds."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        function()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        return True
    return False


@pytest.mark.parametrize("mode", ["grid", pytest.param("hybrid", marks=pytest.mark.slow)])
def test_interrupted_predictions(mode: str) -> None:
    """By the exception of a signal handler, at any moment."""
    model, image, rng = model_of(mode).train(), images_of(3)[0], random.Random(TIMES)
    expected = bits(model.predict([image], reject=0.1))
    with raising():
        before = surroundings(model)
        came = 0
        for _ in range(30 * TIMES):
            came += interrupted(lambda: model.predict([image], reject=0.1), rng.uniform(1e-5, 0.008))
            after = surroundings(model)
            changed = [name for name in before if before[name] != after[name]]
            assert not changed, f"expected all as before, got changes of {changed} after {came} interruptions"
    assert came > 5 * TIMES
    assert bits(model.predict([image], reject=0.1)) == expected


@pytest.mark.parametrize("part", ["dag", "classifier.project"])
def test_errors_of_hooks(part: str) -> None:
    def fail(*_: object) -> None:
        raise Interrupted

    model, image = model_of("grid").train(), images_of(3)[0]
    before = surroundings(model)
    handle = model.get_submodule(part).register_forward_pre_hook(fail)
    try:
        with pytest.raises(Interrupted):
            model.predict([image])
    finally:
        handle.remove()
    assert surroundings(model) == before


class Slow:
    """An image that is there when it is told to be."""

    def __init__(self) -> None:
        self.asked, self.there = threading.Event(), threading.Event()

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> Tensor:
        self.asked.set()
        assert self.there.wait(60)
        return torch.eye(12)


@contextmanager
def predicting(model: ImageClassificationModel) -> Iterator[None]:
    """Another thread is in the middle of a prediction."""
    image = Slow()
    thread = threading.Thread(target=lambda: model.predict(image))
    thread.start()
    try:
        assert image.asked.wait(60)
        yield
    finally:
        image.there.set()
        thread.join(60)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_training_beside_predictions(norm: str) -> None:
    """Steps that are taken while another thread predicts are the same to the last bit."""
    images, labels = torch.rand(24, 12, 12, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
    settings = TrainingSettings(epochs=1, batch_size=8, device="cpu", augment=False)

    def trained(*, beside: bool) -> dict[str, Any]:
        torch.manual_seed(0)
        model = ImageClassificationModel.from_preset("tiny", 3, norm=norm)
        calls: list[Any] = []

        def predict(*_: object) -> None:
            # From the first step of training on to its last one.
            if beside and threading.current_thread() is threading.main_thread():
                if not calls:
                    calls.append(predicting(model))
                    calls[0].__enter__()
                elif len(calls) == 3:
                    calls[0].__exit__(None, None, None)
                calls.append(None)

        model.dag.register_forward_pre_hook(predict)
        fit(model, images, labels, settings=settings, verbose=False)
        return bits(dict(model.state_dict()))

    assert trained(beside=True) == trained(beside=False)


@cases(1)
@given(seed=SEEDS)
def test_forks_while_a_thread_predicts(seed: int) -> None:
    """The child's model has its modes, and predicts."""
    torch.set_num_threads(1)
    model = model_of(MODES[seed % 4]).train(seed % 2 == 0)
    expected = bits(model.predict([torch.eye(12)]).similarities)
    modes = [part.training for part in model.modules()]
    with predicting(model):
        child = os.fork()
        if child == 0:
            right = False
            try:
                signal.alarm(60)
                right = modes == [part.training for part in model.modules()]
                right = right and bits(model.predict([torch.eye(12)]).similarities) == expected
            finally:
                os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "expected modes and predictions as before in the child"
