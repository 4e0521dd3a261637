"""The operators ``torch.ops.grapheme.*``: for each its schema, plain implementation, fake implementation and gradient.

On CPUs, compiled kernels (``csrc/``) replace the plain implementations if they were built; the rest of the package does
not need to know.
"""

from grapheme_pyg.ops.definition import compiled, describe_kernels
from grapheme_pyg.ops.grids import induce, measure_cells
from grapheme_pyg.ops.ground import relative_to_ground
from grapheme_pyg.ops.half_products import half_products
from grapheme_pyg.ops.norm_relu import norm_relu, norm_relu_backward, norm_relu_known
from grapheme_pyg.ops.plan import plan_readout, plan_sweep
from grapheme_pyg.ops.pool import mean_max_pool
from grapheme_pyg.ops.segment_mean import segment_mean
from grapheme_pyg.ops.superpixels import superpixels
from grapheme_pyg.ops.typed_conv import typed_conv
from grapheme_pyg.ops.warp import warp

__all__ = [
    "compiled",
    "describe_kernels",
    "half_products",
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
    "warp",
]
