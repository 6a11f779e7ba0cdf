"""Additions and multiplications of a step, counted against their formulas."""

import torch

from bptrain import nn
from bptrain.bench.products import Products, copy_probe, matmul_probes


def counted(model: torch.nn.Module, *inputs: torch.Tensor) -> Products:
    products = Products()
    with products:
        outputs = model(*inputs)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        outputs.sum().backward()
    return products


def test_a_linear_layer_has_one_product_forward_and_one_for_each_gradient() -> None:
    first, second = nn.Linear(7, 5), nn.Linear(5, 3)
    found = counted(torch.nn.Sequential(first, second), torch.randn(4, 7))
    # the first layer's input needs no gradient
    assert found.flops == 2 * (2 * 4 * 7 * 5) + 3 * (2 * 4 * 5 * 3)


def test_products_into_given_memory_count_in_a_recurrent_layer() -> None:
    steps, batch, inputs, hidden = 6, 2, 3, 4
    model = nn.LSTM(inputs, hidden)
    found = counted(model, torch.randn(steps, batch, inputs)).flops
    from_input = 2 * steps * batch * inputs * 4 * hidden  # forward, and the gradient of W_ih
    from_state = 2 * steps * batch * hidden * 4 * hidden  # forward, of W_hh and of the state
    assert 2 * from_input + 2 * from_state <= found <= 2 * from_input + 3 * from_state


def test_a_convolution_counts_its_kernel_at_each_output() -> None:
    model = nn.Conv2d(2, 3, 3, padding=1)
    found = counted(model, torch.randn(1, 2, 5, 5))
    forward = 2 * (3 * 5 * 5) * (2 * 3 * 3)
    assert found.flops == 2 * forward  # and the kernel's gradient
    assert found.has_images


def test_the_products_alone_run_as_often_as_asked_for_and_change_nothing() -> None:
    model = nn.Linear(7, 5)
    found = counted(model, torch.randn(4, 7))
    weight = model.weight.detach().clone()
    alone = found.alone()
    alone()
    alone()
    torch.testing.assert_close(model.weight.detach(), weight, rtol=0, atol=0)
    counted_again = Products()
    with counted_again:
        alone()
    assert counted_again.flops == found.flops


def test_images_can_be_channels_last() -> None:
    counted(nn.Conv2d(2, 3, 3), torch.randn(1, 2, 5, 5)).alone(torch.channels_last)()


def test_an_expanded_operand_keeps_its_shape() -> None:
    products = Products()
    with products:
        torch.addmm(torch.randn(5).expand(4, 5), torch.randn(4, 3), torch.randn(3, 5))
    products.alone()()


def test_the_probes_say_what_they_compute_and_move() -> None:
    routes, flops = matmul_probes(torch.device("cpu"), torch.float32)
    counted_product = Products()
    with counted_product:
        routes["torch"]()
    assert counted_product.flops == flops
    copy, moved = copy_probe(torch.device("cpu"))
    target = copy()
    assert isinstance(target, torch.Tensor)
    assert moved == 2 * target.numel() * 4


def test_every_route_computes_the_same_product() -> None:
    routes, _ = matmul_probes(torch.device("cpu"), torch.float32)
    first, *others = (route() for route in routes.values())
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-3)


def test_bfloat16_has_one_route() -> None:
    routes, _ = matmul_probes(torch.device("cpu"), torch.bfloat16)
    assert [*routes] == ["torch"]
