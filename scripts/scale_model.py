"""What a data-parallel step spends on communication: all-reduce, and what of it the backward hides.

Symbols    n devices, B bytes of gradients, W bytes a second of a link in each direction, a seconds
           from one process to another (latency, with the software's part)
Ring       T = 2 (n-1)/n B/W + 2 (n-1) a: B/n bytes go round twice, in n-1 steps each
           Source: Patarasuk and Yuan 2009, section 4
Tree       T = 2 B/W + 2 ceil(log2 n) a: up and down two binary trees that share the bytes, in
           pieces; the filling of the pipeline is left out
           Source: Sanders, Speck and Traeff 2009
Two levels g devices in a node by a fast link, m = n/g nodes: reduce-scatter in the node, all-reduce
           among the nodes, all-gather in the node; the node's devices share its one network link
Exposed    gradients are complete layer by layer, from the last one on; a bucket starts when its
           layers are complete and the bucket before it is through. The buckets are those of
           bptrain/train/buckets.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil, log2
from typing import NamedTuple

GRADIENT_BYTES = 4  # of an element: float32
BUCKET_BYTES, FIRST_BUCKET_BYTES = 25 * 2**20, 2**20  # that close one, and the first one
DEVICES_IN_A_NODE = 8
MOST_DEVICES = 1_000
WHOLE_BATCH = 1_024  # samples, where a batch is divided among all devices


class Link(NamedTuple):
    """A link between devices: its name, bytes a second in each direction, and latency in s."""

    name: str
    bytes_per_s: float
    latency_s: float


class Layer(NamedTuple):
    """Parameters of a layer, and the operations of its forward pass for a sample.

    is_last  whether its gradient is complete only at the end, wherever it stands (tied weights)
    """

    parameters: int
    forward_flops: float
    is_last: bool = False


@dataclass(frozen=True)
class Family:
    """A network: its layers in their order, the samples of a device's batch, a device's flop/s."""

    name: str
    layers: Sequence[Layer]
    batch: float
    flops_per_s: float

    @property
    def parameters(self) -> int:
        """Parameters in all."""
        return sum(each.parameters for each in self.layers)

    @property
    def gradient_bytes(self) -> int:
        """Bytes that are added up over the devices in a step."""
        return GRADIENT_BYTES * self.parameters

    @property
    def forward_s(self) -> float:
        """Seconds of a batch's forward pass."""
        return sum(each.forward_flops for each in self.layers) * self.batch / self.flops_per_s

    @property
    def step_s(self) -> float:
        """Seconds of a step on one device: the backward pass computes twice as much again."""
        return 3 * self.forward_s


def ring_s(n: int, size: float, link: Link) -> float:
    """Return the seconds of an all-reduce of `size` bytes by a ring."""
    return 2 * (n - 1) / n * size / link.bytes_per_s + 2 * (n - 1) * link.latency_s


def tree_s(n: int, size: float, link: Link) -> float:
    """Return the seconds of an all-reduce of `size` bytes by a double binary tree."""
    if n == 1:
        return 0.0
    return 2 * size / link.bytes_per_s + 2 * ceil(log2(n)) * link.latency_s


def best_s(n: int, size: float, link: Link) -> float:
    """Return the seconds of the better one, as libraries choose it by size."""
    return min(ring_s(n, size, link), tree_s(n, size, link))


def two_levels_s(n: int, size: float, inside: Link, outside: Link) -> float:
    """Return the seconds over nodes of 8 devices; within one node the network is not used."""
    g = min(n, DEVICES_IN_A_NODE)
    return best_s(g, size, inside) + best_s(ceil(n / g), size, outside)


AllReduce = Callable[[int, float], float]  # seconds for n devices and so many bytes


def buckets_of(family: Family, bucket_bytes: float = BUCKET_BYTES) -> list[tuple[float, float]]:
    """Return when each bucket is complete, in s from the start of the backward pass, and its bytes.

    A bucket is sent once it holds `bucket_bytes`, the first one at 1 MiB; a larger layer closes
    the bucket that it is in.
    """
    backward = [*reversed(family.layers)]
    seconds = 2 * family.batch / family.flops_per_s
    ends = list(accumulate(each.forward_flops * seconds for each in backward))
    ready = sorted(
        (ends[-1] if layer.is_last else end, GRADIENT_BYTES * layer.parameters)
        for layer, end in zip(backward, ends, strict=True)
        if layer.parameters
    )
    buckets: list[tuple[float, float]] = []
    held = 0.0
    for number, (time, size) in enumerate(ready):
        held += size
        limit = bucket_bytes if buckets else min(FIRST_BUCKET_BYTES, bucket_bytes)
        if held >= limit or number == len(ready) - 1:
            buckets.append((time, held))
            held = 0.0
    return buckets


def exposed_s(family: Family, n: int, all_reduce: AllReduce, overlaps: bool = True) -> float:
    """Return the seconds by which communication makes a step longer.

    overlaps  whether buckets are sent during the backward pass, or all bytes after it
    """
    if n == 1:
        return 0.0
    if not overlaps:
        return all_reduce(n, family.gradient_bytes)
    end = 0.0
    for ready, size in buckets_of(family):
        end = max(end, ready) + all_reduce(n, size)
    return max(0.0, end - 2 * family.forward_s)


def efficiency(family: Family, n: int, all_reduce: AllReduce, overlaps: bool = True) -> float:
    """Return the part of a step that computes, each device with the same batch (weak scaling)."""
    return family.step_s / (family.step_s + exposed_s(family, n, all_reduce, overlaps))


def pays_until(family: Family, all_reduce: AllReduce, least: float = 0.5) -> int:
    """Return the most devices, of 1,000, up to which at least that part of each step computes."""
    for n in range(2, MOST_DEVICES + 1):
        if efficiency(family, n, all_reduce) < least:
            return n - 1
    return MOST_DEVICES


def fastest(family: Family, all_reduce: AllReduce, batch: int = WHOLE_BATCH) -> tuple[int, float]:
    """Return on how many devices a batch's step is shortest, and its speed-up (strong scaling).

    A device has at least one sample. That it computes a smaller part of the batch at the same speed
    is assumed, and flatters the result.
    """

    def step_s(n: int) -> float:
        part = replace(family, batch=batch / n)
        return part.step_s + exposed_s(part, n, all_reduce)

    best = min(range(1, min(MOST_DEVICES, batch) + 1), key=step_s)
    return best, step_s(1) / step_s(best)


def linear(inputs: int, outputs: int, times: int = 1) -> Layer:
    """Return a linear layer that is applied `times` times to a sample."""
    return Layer(inputs * outputs + outputs, 2.0 * inputs * outputs * times)


def convolution(inputs: int, outputs: int, kernel: int, side: int) -> Layer:
    """Return a convolution without bias and its batch normalization, on `side` x `side` outputs."""
    weights = inputs * outputs * kernel**2
    return Layer(weights + 2 * outputs, 2.0 * weights * side**2)


def mlp() -> Family:
    """Return 784-4096-4096-10 on MNIST, 17 hidden megaweights, with a batch of 128."""
    layers = [linear(784, 4096), linear(4096, 4096), linear(4096, 10)]
    return Family("MLP 784-4096-4096-10", layers, 128, 10e12)


def resnet20() -> Family:
    """Return ResNet-20 on CIFAR-10 (He et al. 2016, section 4.2), projections in its shortcuts."""
    layers, width = [convolution(3, 16, 3, 32)], 16
    for outputs, side in ((16, 32), (32, 16), (64, 8)):
        for _ in range(3):
            layers += [convolution(width, outputs, 3, side), convolution(outputs, outputs, 3, side)]
            layers += [convolution(width, outputs, 1, side)] * (width != outputs)
            width = outputs
    return Family("ResNet-20, CIFAR-10", [*layers, linear(64, 10)], 128, 10e12)


def resnet50() -> Family:
    """Return ResNet-50 on ImageNet (He et al. 2016, table 1, strides in the 3 x 3 convolutions)."""
    layers, width, side = [convolution(3, 64, 7, 112)], 64, 56
    for stage, (inner, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            before, side = side, side // 2 if stage and not block else side
            layers += [convolution(width, inner, 1, before), convolution(inner, inner, 3, side)]
            layers += [convolution(inner, 4 * inner, 1, side)]
            layers += [convolution(width, 4 * inner, 1, side)] * (block == 0)
            width = 4 * inner
    return Family("ResNet-50, ImageNet", [*layers, linear(2048, 1000)], 64, 60e12)


def lstm(width: int = 1024, steps: int = 128, words: int = 10_000) -> Family:
    """Return a language model: embedding, two LSTM layers and the output, 64 texts of 128 words.

    A layer's weights are complete at its first time step, the last of its backward pass.
    """
    weights = 8 * width * width
    cell = Layer(weights + 8 * width, 2.0 * weights * steps)
    embedding = Layer(words * width, 0.0)
    return Family("LSTM 2 x 1024", [embedding, cell, cell, linear(width, words, steps)], 64, 30e12)


def transformer(
    width: int = 768, depth: int = 12, steps: int = 1024, words: int = 32_000
) -> Family:
    """Return a decoder of 110 million parameters whose output weights are the embedding's.

    The gradient of the tied weights is complete at the end: the embedding adds its part last.
    """
    weights = 12 * width * width
    scores = 4.0 * width * steps * steps
    block = Layer(weights + 13 * width, 2.0 * weights * steps + scores)
    tied = Layer(words * width, 2.0 * words * width * steps, is_last=True)
    layers = [Layer(steps * width, 0.0), *[block] * depth, Layer(2 * width, 0.0), tied]
    return Family("transformer, 110 M", layers, 8, 100e12)


FAMILIES = (mlp, resnet20, resnet50, lstm, transformer)
ETHERNET_25 = Link("25 Gbit/s", 25e9 / 8, 30e-6)
ETHERNET_100 = Link("100 Gbit/s", 100e9 / 8, 10e-6)
INFINIBAND_400 = Link("400 Gbit/s", 400e9 / 8, 5e-6)
NVLINK = Link("NVLink", 450e9, 3e-6)
NETWORKS = (ETHERNET_25, ETHERNET_100, INFINIBAND_400)


def of_link(link: Link) -> AllReduce:
    """Return the all-reduce over one kind of link."""
    return lambda n, size: best_s(n, size, link)


def with_nvlink(link: Link) -> AllReduce:
    """Return the all-reduce over nodes of 8 devices on NVLink."""
    return lambda n, size: two_levels_s(n, size, NVLINK, link)


WAYS: dict[str, AllReduce] = {
    **{each.name: of_link(each) for each in NETWORKS},
    "NVLink in nodes of 8, 400 Gbit/s": with_nvlink(INFINIBAND_400),
}
