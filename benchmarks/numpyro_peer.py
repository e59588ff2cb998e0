"""NumPyro's side of the variational autoencoder: its SVI, steps in a compiled `lax.scan`, replicates by `vmap`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

# One thread, as every other arm has; XLA reads this when jax is first imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import lax
from numpyro.handlers import substitute
from numpyro.infer import SVI, Trace_ELBO
from numpyro.optim import Adam

from .workload import LEARNING_RATE, Workload

#: Layers of a network as (weight (in, out), bias (out,)).
Layers = list[tuple[Any, Any]]


def perceptron(layers: Layers, value: Any) -> Any:
    """SiLU between the layers."""
    for number, (weight, bias) in enumerate(layers):
        value = value @ weight + bias
        if number + 1 < len(layers):
            value = jax.nn.silu(value)
    return value


def model(y: Any, latent_dim: int) -> None:
    """z ~ N(0, I), y ~ N(g(z), s² I), g and s learned."""
    decoder, log_sigma = numpyro.param("decoder", None), numpyro.param("log_sigma", None)
    with numpyro.plate("data", y.shape[0]):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((y.shape[0], latent_dim)), 1.0).to_event(1))
        numpyro.sample("y", dist.Normal(perceptron(decoder, z), jnp.exp(log_sigma)).to_event(1), obs=y)


def guide(y: Any, latent_dim: int) -> None:
    """q(z | y) = N(m(y), diag v(y)), m and v learned."""
    encoder = numpyro.param("encoder", None)
    with numpyro.plate("data", y.shape[0]):
        loc, log_scale = jnp.split(perceptron(encoder, y), 2, axis=-1)
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


def loss(parameters: Mapping[str, Any], y: np.ndarray, z: np.ndarray) -> float:
    """-ELBO in nats of one replicate for a draw z (B, dz) of the guide at y (B, dy)."""
    given = substitute(guide, data={"z": jnp.asarray(z)})
    own = jax.tree.map(jnp.asarray, dict(parameters))
    value = Trace_ELBO().loss(jax.random.key(0), own, model, given, jnp.asarray(y), z.shape[1])
    return float(value)


def scanned(
    workload: Workload, parameters: Mapping[str, Any], latent_dim: int, replicates: int
) -> Callable[[int], Any]:
    """`run(steps)` of `replicates` models: one compiled scan over the steps, minibatches drawn inside, vmapped."""
    svi = SVI(model, guide, Adam(LEARNING_RATE), Trace_ELBO(), latent_dim=latent_dim)
    data = jnp.asarray(workload.data.numpy())
    everyone = jnp.broadcast_to(data, (replicates, *data.shape))

    def step(own: Any, state: Any, _: None) -> tuple[Any, Any]:
        key, pick = jax.random.split(state.rng_key)
        rows = jax.random.randint(pick, (workload.batch_size,), 0, workload.examples)
        return svi.update(state._replace(rng_key=key), own[rows])

    @partial(jax.jit, static_argnames="steps")
    def scan(states: Any, own: Any, steps: int) -> tuple[Any, Any]:
        return jax.vmap(lambda state, rows: lax.scan(partial(step, rows), state, None, length=steps))(states, own)

    def begin(key: Any) -> Any:
        return svi.init(key, data[: workload.batch_size], init_params=jax.tree.map(jnp.asarray, dict(parameters)))

    states = jax.vmap(begin)(jax.random.split(jax.random.key(0), replicates))

    def run(steps: int) -> Any:
        nonlocal states
        states, losses = scan(states, everyone, steps=steps)
        return jax.block_until_ready(losses)

    return run
