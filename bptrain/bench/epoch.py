"""An epoch of MNIST: bptrain against the same network in torch.nn, fed by a DataLoader.

The baseline is what the tutorials write: torchvision's MNIST with ToTensor and Normalize, a
shuffling DataLoader, torch.nn layers, torch.optim at its defaults. A third alternative, torch.nn
fed by bptrain's batches, shows how much of the difference the data path makes.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from bptrain.data import BatchSource
from bptrain.data.images.mnist import FILES, MNISTConfig, find
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.models.mlp import MLPConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.problem import Problem
from bptrain.tape import record
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.loop import fit
from bptrain.train.precision import Precision
from bptrain.train.update import Update

MEAN, STD = 0.1307, 0.3081  # MNIST's training pixels, as the tutorials have them
SMOOTHING = 0.1
PROBLEM = Problem("classification", (1, 28, 28), 10)
OPTIMIZER = SGDConfig(lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)


def epochs(
    root: Path, scratch: Path, hidden: list[int], batch_size: int, workers: list[int]
) -> dict[str, Callable[[], object]]:
    """Return an epoch of each alternative: bptrain, torch.nn on its batches, and on DataLoaders.

    root     holds MNIST/raw, gzipped or not
    scratch  a folder to unpack the files into: torchvision does not read them gzipped
    """
    batches = mnist_batches(root, batch_size)
    data = unpacked(root, scratch)
    found: dict[str, Callable[[], object]] = {"bptrain": bptrain_epoch(hidden, batches)}
    in_memory = torch_epoch(hidden)
    found["torch.nn, bptrain's batches"] = lambda: in_memory(pairs(batches))
    for count in workers:
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            data, batch_size, shuffle=True, num_workers=count, persistent_workers=count > 0
        )
        found[f"torch.nn, DataLoader of {count} workers"] = _over(torch_epoch(hidden), loader)
    return found


def mnist_batches(root: Path, batch_size: int) -> BatchSource:
    """Return all 60,000 training images as bptrain serves them."""
    dataset = MNISTConfig(root=str(root), batch_size=batch_size, validation_fraction=0).build(0)
    return dataset.train.serve(batch_size, seed=0)


def bptrain_epoch(hidden: list[int], batches: BatchSource) -> Callable[[], object]:
    """Return a function that trains bptrain's MLP for an epoch."""
    model = MLPConfig(hidden=hidden).build(PROBLEM, "cpu")
    loss = CrossEntropyConfig(label_smoothing=SMOOTHING).build(PROBLEM)
    gradients = LayerGradients(model)
    precision = Precision.of("fp32", torch.device("cpu"))
    update = Update(OPTIMIZER.build(model), lambda _: 1.0, gradients, precision)

    def epoch() -> None:
        for _ in fit(record(model, loss), batches, update, len(batches)):
            pass

    return epoch


def torch_epoch(hidden: list[int]) -> Callable[[Iterable[tuple[Tensor, Tensor]]], None]:
    """Return a function that trains the same network in torch.nn for an epoch."""
    widths = [784, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for width, units in zip(widths, hidden, strict=False):
        layers += [nn.Linear(width, units), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    loss_function = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=OPTIMIZER.lr,
        momentum=OPTIMIZER.momentum,
        nesterov=OPTIMIZER.nesterov,
        weight_decay=OPTIMIZER.weight_decay,
    )

    def epoch(batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        for inputs, targets in batches:
            loss = loss_function(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def pairs(batches: BatchSource) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield bptrain's batches in the form of a DataLoader's."""
    for batch in batches.epoch(0):
        yield batch.inputs[0], batch.targets[0]


def unpacked(root: Path, scratch: Path) -> datasets.MNIST:
    """Return torchvision's data set over files unpacked into `scratch`."""
    folder = scratch / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (name for names in FILES.values() for name in names):
        path = find(root / "MNIST" / "raw", name)
        if path is None:
            raise FileNotFoundError(f"{root}/MNIST/raw/{name}")
        content = path.read_bytes()
        (folder / name).write_bytes(gzip.decompress(content) if path.suffix == ".gz" else content)
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    return datasets.MNIST(str(scratch), train=True, transform=steps)


def _over(
    epoch: Callable[[Iterable[tuple[Tensor, Tensor]]], None],
    loader: DataLoader[tuple[Tensor, Tensor]],
) -> Callable[[], object]:
    return lambda: epoch(loader)
