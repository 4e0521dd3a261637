"""The state of a training, as checkpoints hold it, and the check of a state that comes from outside."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from grapheme_pyg.training.loop import TrainingLoop

# Parts of a state that are dictionaries of tensors; the others are plain values that JSON can hold.
TENSORS = ("model", "average", "optimizer")
# Settings that may differ when a run is resumed. The number of epochs is checked separately.
FREE_SETTINGS = ("device", "num_workers", "loader", "checkpoint_every", "nonfinite", "epochs")
# Metrics of every epoch, and metrics that only some trainings have.
METRICS = {"epoch", "train_loss", "learning_rate", "graphs_per_second", "seconds"}
MORE_METRICS = {"val_loss", "val_accuracy", "kernel_learning_rate"}
# Ends of the names of tensors that are squares, counts, or averages of them.
NOT_NEGATIVE = (".running_var", ".exp_avg_sq", ".step")


def state_of(loop: "TrainingLoop", loss: list[float]) -> dict[str, Any]:
    """Returns everything that training has changed, and a description of the training.

    Args:
        loop: The training.
        loss: Sum and number of the losses of this epoch, over all processes.
    """
    model = loop.model.state_dict()
    return {
        "run": loop.run_description,
        # The names of the relations, in the order of the weights.
        "relations": {name: value for name, value in model.items() if not isinstance(value, Tensor)},
        "epoch": loop.epoch,
        "batch": loop.batch,
        "step": loop.step,
        "seconds": loop.seconds_so_far(),
        "loss": loss,
        "metrics": loop.metrics,
        "ended": loop.ended,
        "rates": [group["lr"] for group in loop.optimizer.param_groups],
        "scaler": loop.scaler.state_dict(),
        "model": {name: value for name, value in model.items() if isinstance(value, Tensor)},
        "average": dict(averages_of(loop)),
        "optimizer": dict(_slots(loop)),
    }


def take_up(loop: "TrainingLoop", state: dict[str, Any]) -> None:
    """Sets a training to a state that :func:`check_state` has accepted."""
    loop.epoch, loop.batch, loop.step = state["epoch"], state["batch"], state["step"]
    loop.seconds, loop.metrics = float(state["seconds"]), list(state["metrics"])
    # More epochs than planned are trained even if `on_epoch_end` had ended the training.
    loop.ended = state["ended"] and state["run"]["settings"]["epochs"] == loop.settings.epochs
    loop.model.load_state_dict(state["model"] | state["relations"])
    with torch.no_grad():
        for part, tensors in (("average", averages_of(loop)), ("optimizer", _slots(loop))):
            for name, tensor in tensors:
                tensor.copy_(state[part][name])
    for group, rate in zip(loop.optimizer.param_groups, state["rates"], strict=True):
        group["lr"] = float(rate)
    loop.scaler.load_state_dict(state["scaler"])
    if loop.processes.writes:  # the sum over all processes, which is added up again
        loop.loss.copy_(torch.tensor(state["loss"], dtype=torch.float64))
    loop.saved = loop.step


def averages_of(loop: "TrainingLoop") -> Iterator[tuple[str, Tensor]]:
    """Iterates over the names and averages of the weights; there are none if nothing is averaged."""
    both = [*loop.model.named_parameters(), *loop.model.named_buffers()]
    names = [name for name, tensor in both if tensor.is_floating_point()]
    yield from zip(names, loop.average.tensors, strict=True) if loop.average.tensors else ()


def _slots(loop: "TrainingLoop") -> Iterator[tuple[str, Tensor]]:
    """Iterates over the names, ``<parameter>.<slot>``, and tensors of the optimiser's state."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in loop.model.named_parameters()}
    for parameter, slots in loop.optimizer.state.items():
        for slot, tensor in slots.items():
            yield f"{names[parameter]}.{slot}", tensor


def check_state(loop: "TrainingLoop", state: dict[str, Any]) -> None:
    """Refuses a state with which the training cannot go on; its values may be of any kind.

    Raises:
        ValueError: A field is missing, unknown, of the wrong type, out of range or not finite, or the state belongs to
            another run. The message begins with the name of the field.
    """
    own = state_of(loop, [0.0, 0.0])
    _same_names("", own, state)
    _check_run(state["run"], plain(own["run"]))
    _expect("relations", state["relations"] == plain(own["relations"]), "those of the model", state["relations"])
    planned, batches = state["run"]["settings"]["epochs"], len(loop.batches)
    for name, most in (("epoch", planned), ("batch", batches)):
        _expect(name, _is_count(state[name], most), f"an integer in 0…{most}", state[name])
    most = state["epoch"] * loop.steps_in(batches) + loop.steps_in(state["batch"])
    _expect("step", _is_count(state["step"], most), f"an integer in 0…{most}", state["step"])
    _expect("ended", isinstance(state["ended"], bool), "true or false", state["ended"])
    _expect("seconds", _is_number(state["seconds"], 0, 1e300), "a non-negative number", state["seconds"])
    for name in ("loss", "rates"):
        came, number = state[name], len(own[name])
        fits = isinstance(came, list) and len(came) == number and all(_is_number(value, 0, 1e300) for value in came)
        _expect(name, fits, f"{number} non-negative numbers", came)
    _check_metrics(state["metrics"], state["epoch"])
    _check_scaler(state["scaler"], own["scaler"])
    for part in TENSORS:
        _same_names(f"{part}.", own[part], state[part])
        for name, tensor in state[part].items():
            _check_tensor(f"{part}.{name}", own[part][name], tensor)


def plain(value: Any) -> Any:
    """Returns a value as it is after being saved as JSON, where tuples become lists."""
    return json.loads(json.dumps(value))


def _expect(name: str, holds: bool, expected: str, came: object) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {came!r}")


def _same_names(prefix: str, own: dict[str, Any], came: object) -> None:
    _expect(prefix.rstrip(".") or "fields", isinstance(came, dict), "an object", came)
    assert isinstance(came, dict)
    for name in own.keys() | came.keys():
        if (name in own) != (name in came):
            expected = "a field" if name in own else "none of this name"
            raise ValueError(f"{prefix}{name}: expected {expected}, got {'one' if name in came else 'none'}")


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_number(value: object, least: float, most: float) -> bool:
    # NaN fails the comparison; integers from JSON may be too large for a conversion to float.
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _check_metrics(rows: object, epochs: int) -> None:
    _expect("metrics", isinstance(rows, list) and len(rows) == epochs, f"rows of {epochs} epochs", rows)
    assert isinstance(rows, list)
    for number, row in enumerate(rows, 1):
        fits = isinstance(row, dict) and METRICS <= row.keys() <= METRICS | MORE_METRICS
        fits = fits and _is_count(row["epoch"], number) and row["epoch"] == number
        fits = fits and all(type(value) is float for name, value in row.items() if name != "epoch")
        _expect(f"metrics[{number - 1}]", fits, f"the metrics of epoch {number}, all of them floats", row)


def _check_scaler(came: object, own: dict[str, Any]) -> None:
    """Checks the scale and the number of steps for which it has held; the other values are constants."""
    _same_names("scaler.", own, came)
    assert isinstance(came, dict)
    for name, value in own.items():
        if name == "scale":
            _expect("scaler.scale", _is_number(came[name], 1e-37, 1e38), "a number in 1e-37…1e38", came[name])
        elif name == "_growth_tracker":
            _expect(f"scaler.{name}", _is_count(came[name], own["growth_interval"]), "a count of steps", came[name])
        else:
            fits = type(came[name]) is type(value) and came[name] == value
            _expect(f"scaler.{name}", fits, repr(value), came[name])


def _check_tensor(name: str, own: Tensor, came: Tensor) -> None:
    """Refuses a tensor with another dtype or shape, values that are not finite, or invalid negative values."""
    wanted, got = ((tensor.dtype, list(tensor.shape)) for tensor in (own, came))
    if wanted != got:
        raise ValueError(f"{name}: expected {wanted[0]} of shape {wanted[1]}, got {got[0]} of shape {got[1]}")
    if came.numel() == 0 or not came.is_floating_point():
        return
    if not name.startswith("optimizer."):
        came = came.float()  # the precision of saved models
    least, greatest = (value.item() for value in came.aminmax())
    _expect(name, -torch.inf < least and greatest < torch.inf, "finite values", f"{least} to {greatest}")
    _expect(name, least >= 0 or not name.endswith(NOT_NEGATIVE), "no negative value", least)


def _check_run(stored: object, expected: dict[str, Any]) -> None:
    """Refuses the state of another run; a run may have been planned with fewer epochs."""
    _same_names("run.", expected, stored)
    assert isinstance(stored, dict)
    for part, values in expected.items():
        found = stored[part]
        _expect(f"run.{part}", isinstance(found, dict), "an object", found)
        for name in sorted(values.keys() | found.keys()):
            want, got = values.get(name), found.get(name)
            if part == "settings" and name in FREE_SETTINGS:
                continue
            if part == "data":
                _check_data(name, want, got)
            elif want != got:
                raise ValueError(f"expected a run with {part}.{name} = {want!r}, got {got!r}")
    epochs, planned = expected["settings"]["epochs"], stored["settings"].get("epochs")
    if not _is_count(planned, epochs):
        raise ValueError(f"expected a run with settings.epochs = {epochs} or fewer, got {planned!r}")


def _check_data(name: str, want: Any, got: Any) -> None:
    """Refuses the state of a run on other images, with a message that says what to do."""
    if want == got:
        return
    change = "other images"
    if name == "images" and type(got) is int:
        change = f"{abs(want - got):,} {'fewer' if want < got else 'more'} images"
    raise ValueError(
        f"expected a run with data.{name} = {want!r}, got {got!r}; there are {change} now: restore the images with "
        "which the run was started, or start a new run in another run_dir"
    )
