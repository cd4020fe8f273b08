"""What every network has in common, and what its state is: a tree of tensors."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_state(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """The same tree with every tensor replaced by `function` of it.

    A tree is a tensor, or a tuple, a named tuple or a list of trees; every tensor has the streams along its first axis.
    """
    if isinstance(state, Tensor):
        return function(state)
    branches = [map_state(function, branch) for branch in state]
    if isinstance(state, list):
        return branches
    return type(state)(*branches) if hasattr(state, "_fields") else tuple(branches)


def tensors_of(state: Any) -> list[Tensor]:
    """All tensors of a state, in order."""
    return [state] if isinstance(state, Tensor) else [tensor for branch in state for tensor in tensors_of(branch)]
