"""The usual step of an optimizer: torch's fused kernel, called directly.

Around the kernel torch's own `step` looks for hooks, tells its profiler, and sorts the tensors by
device: on a network of six parameters 55 us in Python, where the kernel's launch takes 25. Here the
same kernel is called with the same tensors. All that is unusual is left to torch's own step: the
first one, which makes the state, hooks, a closure, the gradient scaler of fp16, several devices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import optimizer as torchs

Step = Callable[..., Any]
Group = dict[str, Any]
UNUSUAL = ("maximize", "amsgrad", "differentiable", "capturable")  # options that no config has


class Tensors(NamedTuple):
    """The parameters of a group that have a gradient, and their state, one list for each entry."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    state: list[list[Tensor]]


def _adam(group: Group, tensors: Tensors) -> None:
    """Take a step of Adam or AdamW."""
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    steps, means, squares = tensors.state
    beta1, beta2 = group["betas"]
    torch._foreach_add_(steps, 1)
    kernel(
        tensors.parameters,
        tensors.gradients,
        means,
        squares,
        [],
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _adam_state(group: Group) -> tuple[str, ...]:
    return ("step", "exp_avg", "exp_avg_sq")


def _sgd(group: Group, tensors: Tensors) -> None:
    """Take a step of SGD, which is not the first: that one begins the momentum."""
    torch._fused_sgd_(
        tensors.parameters,
        tensors.gradients,
        tensors.state[0] if group["momentum"] else [],
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=group["dampening"],
        nesterov=group["nesterov"],
        maximize=False,
        is_first_step=False,
    )


def _sgd_state(group: Group) -> tuple[str, ...]:
    return ("momentum_buffer",) if group["momentum"] else ()


KERNELS = {  # and the names of the state of each parameter, in the kernel's order
    torch.optim.Adam: (_adam, _adam_state),
    torch.optim.AdamW: (_adam, _adam_state),
    torch.optim.SGD: (_sgd, _sgd_state),
}


def with_fused_kernel(kind: type[torch.optim.Optimizer], own: Step) -> Step:
    """Return the `step` of a kind of optimizer; `own` is torch's, without its wrappers."""
    torchs_step: Step = torch.optim.Optimizer.profile_hook_step(own)
    if kind not in KERNELS:
        return torchs_step
    kernel, names = KERNELS[kind]

    @torch.no_grad()
    def step(self: torch.optim.Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        if closure is not None or _has_hooks(self) or hasattr(self, "found_inf"):
            return torchs_step(self, closure)
        calls = []
        for group in self.param_groups:
            tensors = _tensors(self, group, names(group))
            if tensors is None:
                return torchs_step(self)
            calls.append((group, tensors))
        for group, tensors in calls:
            if tensors.parameters:
                kernel(group, tensors)
        return None

    step.hooked = True  # type: ignore[attr-defined]  # torch would wrap it otherwise
    return step


def _has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torchs._global_optimizer_pre_hooks
        or torchs._global_optimizer_post_hooks
    )


def _tensors(
    optimizer: torch.optim.Optimizer, group: Group, names: tuple[str, ...]
) -> Tensors | None:
    """Return what the kernel is called with; None where torch's own step has more to do."""
    if not group["fused"] or any(group.get(option) for option in UNUSUAL):
        return None
    parameters = [p for p in group["params"] if p.grad is not None]
    state = [optimizer.state.get(p, {}) for p in parameters] if names else []
    if any(each.get(name) is None for each in state for name in names):
        return None
    if len({(p.device, p.dtype, p.grad.is_sparse) for p in parameters}) > 1:
        return None
    return Tensors(
        parameters,
        [p.grad for p in parameters],
        [[each[name] for each in state] for name in names],
    )


def clear_gradients(optimizer: torch.optim.Optimizer, set_to_none: bool = True) -> None:
    """Do what `zero_grad` does, without telling torch's profiler."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()
