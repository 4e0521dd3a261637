"""Matching of loaded weights with a module's by the names of relations."""

from typing import Any

import torch
from torch import Tensor, nn

from grapheme_pyg.nn.vocabulary import RelationNames


def align_by_name(
    module: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],  # noqa: ARG001 - the signature is PyTorch's
    strict: bool,  # noqa: ARG001
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],  # noqa: ARG001
) -> None:
    """Reorders the relations of stored weights like those of a module; a ``load_state_dict`` pre-hook.

    A relation that only one side has is reported as the key ``weight.<pair>[<relation>]``. It is an error when loading
    strictly; otherwise the module keeps its own weights for it.
    """
    stored: RelationNames = state_dict.get(f"{prefix}_extra_state") or {}
    own: RelationNames = module.get_extra_state()
    parameters = dict(module.named_parameters())
    for pair, theirs in stored.items():
        ours = own.get(pair, theirs)
        if ours == theirs:
            continue
        for kind in ("weight", "edge_weight"):
            key = f"{prefix}{kind}.{pair}"
            if key not in state_dict or f"{kind}.{pair}" not in parameters:
                continue
            loaded: Tensor = state_dict[key]
            if loaded.shape[0] == len(theirs) and set(theirs) == set(ours):
                # Does not read the module's own weights, which may be on the device "meta".
                state_dict[key] = loaded[[theirs.index(name) for name in ours]]
                continue
            aligned = parameters[f"{kind}.{pair}"].detach().to(loaded.device, loaded.dtype, copy=True)
            if loaded.shape[0] != len(theirs) or loaded.shape[1:] != aligned.shape[1:]:
                continue  # PyTorch reports the shapes
            both = [name for name in ours if name in theirs]
            positions = torch.tensor([theirs.index(name) for name in both], dtype=torch.int64)
            aligned[[ours.index(name) for name in both]] = loaded[positions]
            state_dict[key] = aligned
            missing_keys += [f"{key}[{name}]" for name in ours if name not in theirs]
            unexpected_keys += [f"{key}[{name}]" for name in theirs if name not in ours]
