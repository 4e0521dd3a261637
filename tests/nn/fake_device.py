"""Models forward and backward on a device that is not there: shapes are computed, a mix of devices is refused."""

import os
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.nn.plan import Plan

DEVICE = "gpu"


def on_device(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)


def check(mode: str) -> None:
    model = ImageClassificationModel(VisionBrain(mode))
    images = torch.zeros(4, 28, 28)
    images[:, 4:20, 10:14] = 1
    batch = model.vision.batch(images)
    plan = model.plan(batch)
    with FakeTensorMode():
        for module in model.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                module._parameters[name] = torch.nn.Parameter(on_device(weight))
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = on_device(buffer)
        sweep = type(plan.tables.sweep)(*map(on_device, plan.tables.sweep))
        # How many nodes are pooled is in values, which there are none of.
        moved = Plan.of(replace(plan.tables, sweep=sweep, readout=None))
        chosen = [type(one)(*map(on_device, one)) for one in plan.chosen]
        moved = replace(moved, pooled_generations=plan.pooled_generations)
        x = on_device(batch.x)
        states = model.dag(x, moved, None if batch.edge_attr is None else on_device(batch.edge_attr))
        logits = model.classifier(moved.pooled(states, x), chosen)
        assert (logits.device.type, logits.shape) == (DEVICE, (4, 10))
        logits.sum().backward()
        devices = {weight.grad.device.type for weight in model.parameters() if weight.grad is not None}
        assert devices == {DEVICE}
        with pytest.raises(ValueError, match=f"x: expected device {DEVICE}:0, like the weights, got cpu"):
            model.dag(torch.empty(batch.x.shape), moved, None)


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend(DEVICE)
    for mode in ("grid", "blob", "superpixel"):
        check(mode)
    # PyTorch's thread for a backend written in Python may still run when the interpreter ends, which then aborts.
    os._exit(0)
