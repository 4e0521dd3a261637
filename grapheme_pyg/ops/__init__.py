"""The operators ``torch.ops.grapheme.*``, one file each: schema, plain implementation, fake and derivative.

On CPUs compiled kernels take their places where they were built (``csrc/``); nothing outside this room asks whether.
"""

from grapheme_pyg.ops.definition import compiled, describe_kernels
from grapheme_pyg.ops.grids import induce, measure_cells
from grapheme_pyg.ops.ground import relative_to_ground
from grapheme_pyg.ops.norm_relu import norm_relu, norm_relu_backward, norm_relu_known
from grapheme_pyg.ops.plan import plan_readout, plan_sweep
from grapheme_pyg.ops.pool import mean_max_pool
from grapheme_pyg.ops.segment_mean import segment_mean
from grapheme_pyg.ops.superpixels import superpixels
from grapheme_pyg.ops.typed_conv import typed_conv

__all__ = [
    "compiled",
    "describe_kernels",
    "induce",
    "mean_max_pool",
    "measure_cells",
    "norm_relu",
    "norm_relu_backward",
    "norm_relu_known",
    "plan_readout",
    "plan_sweep",
    "relative_to_ground",
    "segment_mean",
    "superpixels",
    "typed_conv",
]
