"""torch.optim's optimizers without the wrappers that import torch's compiler.

torch wraps the methods of its optimizers for torch.compile. The wrappers import torch._dynamo at
the first call, 1.2 s and 100 MB (torch 2.14.1 on two CPU cores), in runs that compile nothing. Here
the wrapped methods are called directly; their arithmetic is the same. `step` and `zero_grad` do
without torch's other work around them too (fused_step.py).
"""

import inspect
from functools import cache
from typing import Any, TypeVar, cast

import torch

from bptrain.optim.fused_step import clear_gradients, with_fused_kernel

Optimizer = TypeVar("Optimizer", bound=torch.optim.Optimizer)

WRAPPED = ("add_param_group", "load_state_dict", "state_dict")


def eager(optimizer: type[Optimizer]) -> type[Optimizer]:
    """Return a subclass of a torch optimizer whose methods never import the compiler."""
    subclass = _subclass(optimizer)  # type: ignore[arg-type]  # mypy: type[Optimizer] has no hash
    return cast("type[Optimizer]", subclass)


@cache
def _subclass(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimizer, name)) for name in WRAPPED}
    # the wrapper around `step` also disables gradients, unless the optimizer is differentiable
    own = torch.no_grad()(inspect.unwrap(optimizer.step))
    methods |= {"step": with_fused_kernel(optimizer, own), "zero_grad": clear_gradients}
    return type(optimizer.__name__, (optimizer,), methods)
