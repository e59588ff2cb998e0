"""Denoising score matching written by hand in JAX: steps in one compiled `lax.scan`, replicates by `vmap`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

# One thread, as every other arm has; XLA reads this when jax is first imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from torch import nn

from .workload import LEARNING_RATE, Workload

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam

#: Layers of a network as (weight (in, out), bias (out,)).
Layers = list[tuple[Any, Any]]


def layers_of(network: nn.Sequential) -> Layers:
    """The weights of a torch network."""
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    return [(jnp.asarray(one.weight.detach().numpy().T), jnp.asarray(one.bias.detach().numpy())) for one in linears]


def energy(layers: Layers, y: Any) -> Any:
    """E(y) of one y (2,), SiLU between the layers."""
    for number, (weight, bias) in enumerate(layers):
        y = y @ weight + bias
        if number + 1 < len(layers):
            y = jax.nn.silu(y)
    return y[0]


def loss(layers: Layers, y: Any, noise: Any, sigma: float) -> Any:
    """The denoising loss of a minibatch y (B, 2) moved by sigma times noise (B, 2)."""
    gradient = jax.vmap(jax.grad(energy, argnums=1), in_axes=(None, 0))(layers, y + sigma * noise)
    return 0.5 * jnp.mean(jnp.sum((sigma * gradient - noise) ** 2, -1))


def same_loss(network: nn.Sequential, y: np.ndarray, noise: np.ndarray, sigma: float) -> float:
    """The loss of one replicate, for the weights of a torch network."""
    return float(loss(layers_of(network), jnp.asarray(y), jnp.asarray(noise), sigma))


def scanned(workload: Workload, sigma: float, replicates: int) -> Callable[[int], Any]:
    """`run(steps)` of `replicates` models: one compiled scan over the steps, rows and noise drawn inside, vmapped."""
    data = jnp.asarray(workload.data.numpy())
    everyone = jnp.broadcast_to(data, (replicates, *data.shape))

    def step(own: Any, state: Any, _: None) -> tuple[Any, Any]:
        layers, first, second, count, key = state
        key, pick, draw = jax.random.split(key, 3)
        y = own[jax.random.randint(pick, (workload.batch_size,), 0, workload.examples)]
        value, gradient = jax.value_and_grad(loss)(layers, y, jax.random.normal(draw, y.shape), sigma)
        count = count + 1
        first = jax.tree.map(lambda old, new: BETAS[0] * old + (1 - BETAS[0]) * new, first, gradient)
        second = jax.tree.map(lambda old, new: BETAS[1] * old + (1 - BETAS[1]) * new**2, second, gradient)
        left = [1 - beta**count for beta in BETAS]

        def moved(weight: Any, one: Any, two: Any) -> Any:
            return weight - LEARNING_RATE * (one / left[0]) / (jnp.sqrt(two / left[1]) + EPSILON)

        return (jax.tree.map(moved, layers, first, second), first, second, count, key), value

    # The state is given away: XLA then updates it in place, as a training loop of its own would.
    @partial(jax.jit, static_argnames="steps", donate_argnums=0)
    def scan(states: Any, own: Any, steps: int) -> tuple[Any, Any]:
        return jax.vmap(lambda state, rows: lax.scan(partial(step, rows), state, None, length=steps))(states, own)

    def begin(key: Any, layers: Layers) -> Any:
        empty = jax.tree.map(jnp.zeros_like, layers)
        return layers, empty, empty, jnp.zeros(()), key

    networks = [layers_of(workload.network()) for _ in range(replicates)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    states = jax.vmap(begin)(jax.random.split(jax.random.key(0), replicates), stacked)

    def run(steps: int) -> Any:
        nonlocal states
        states, losses = scan(states, everyone, steps=steps)
        return jax.block_until_ready(losses)

    return run
