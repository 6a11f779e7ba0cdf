"""Time a training step of MNIST's MLP in another framework; print its milliseconds.

python scripts/benchmark_peers.py jax|keras|lightning [--threads 2]

It runs in `.venv-peers`, which `scripts/benchmark --peers` makes. The network is 784-512-256-10
with ReLU, the optimizer Adam, a batch has 128 images, and drawn images are in memory.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

WIDTHS = (784, 512, 256, 10)
BATCH, IMAGES = 128, 60_032  # 469 batches
TURNS, STEPS = 10, 20
SECONDS = 1e3  # milliseconds each


def jax_step() -> Callable[[], object]:
    """Return a jitted step of JAX: gradients and Adam as one function, its arguments donated."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 8)
    pairs = list(pairwise(WIDTHS))
    weights = [
        (jax.random.normal(key, (fan_in, fan_out)) / fan_in**0.5, jnp.zeros(fan_out))
        for key, (fan_in, fan_out) in zip(keys, pairs, strict=False)
    ]
    x = jax.random.normal(keys[6], (BATCH, WIDTHS[0]))
    y = jax.random.randint(keys[7], (BATCH,), 0, WIDTHS[-1])

    def loss(weights: Any) -> Any:
        hidden = x
        for W, b in weights[:-1]:
            hidden = jax.nn.relu(hidden @ W + b)
        W, b = weights[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(hidden @ W + b), y[:, None], 1).mean()

    def adam(weights: Any, mean: Any, square: Any, step: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(weights)
        step = step + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = jax.tree.map(
            lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-8), weights, mean, square
        )
        return weights, mean, square, step, value

    compiled = jax.jit(adam, donate_argnums=(0, 1, 2))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [weights, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros(())]

    def step() -> None:
        *state[:], value = compiled(*state)
        value.block_until_ready()

    return step


def keras_step() -> Callable[[], object]:
    """Return a step of Keras on JAX."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    import numpy as np

    hidden = [keras.layers.Dense(units, activation="relu") for units in WIDTHS[1:-1]]
    model = keras.Sequential([keras.Input(WIDTHS[:1]), *hidden, keras.layers.Dense(WIDTHS[-1])])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((BATCH, WIDTHS[0])).astype("float32")
    y = draw.integers(0, WIDTHS[-1], BATCH)
    return lambda: model.train_on_batch(x, y)


def lightning_epoch() -> Callable[[], object]:
    """Return an epoch of Lightning's Trainer over a shuffling DataLoader, without a logger."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    import lightning
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Network(lightning.LightningModule):  # type: ignore[misc]  # not in this environment
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(WIDTHS):
                layers += [nn.Linear(inputs, outputs), nn.ReLU()]
            self.model, self.loss = nn.Sequential(*layers[:-1]), nn.CrossEntropyLoss()

        def training_step(self, batch: Any, index: int) -> Any:
            return self.loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), fused=True)

    images, labels = torch.randn(IMAGES, WIDTHS[0]), torch.randint(WIDTHS[-1], (IMAGES,))
    data = DataLoader(TensorDataset(images, labels), BATCH, shuffle=True)
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )

    def epoch() -> None:
        lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(Network(), data)

    return epoch


def milliseconds_a_step(work: Callable[[], object], steps: int, turns: int) -> float:
    """Return the median over turns of the time of a step, after a turn of warm-up.

    steps  that one call of the work takes, or 0 for one that is repeated STEPS times
    """
    times = []
    for _ in range(turns + 1):
        started_s = time.perf_counter()
        for _ in range(1 if steps else STEPS):
            work()
        times.append((time.perf_counter() - started_s) / (steps or STEPS) * SECONDS)
    return statistics.median(times[1:])


def main() -> None:
    """Time one framework."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=["jax", "keras", "lightning"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # XLA has no other bound on its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    if given.name == "lightning":
        milliseconds = milliseconds_a_step(lightning_epoch(), IMAGES // BATCH, 2)
    else:
        made = jax_step() if given.name == "jax" else keras_step()
        milliseconds = milliseconds_a_step(made, 0, TURNS)
    print(json.dumps({"name": given.name, "step_ms": milliseconds}))


if __name__ == "__main__":
    main()
