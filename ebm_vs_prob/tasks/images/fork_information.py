"""How much the next frames of a video at a fork tell of the branch that was taken: a quadrature in their plane."""

from __future__ import annotations

import numpy as np

from .fork_frames import GAP, SPEEDS, WEIGHTS, futures


def label_information(frames: int, thickness: float, resolution: int) -> float:
    """What y tells of the branch, in nats: Gauss-Legendre nodes for the motion, equal steps for the noise.

    Noise across the plane of the three futures tells nothing, so that the plane's two coordinates are left.
    """
    import torch

    node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(resolution))
    gap, speed = 0.5 * GAP * (1.0 + node), SPEEDS[0] + 0.5 * (SPEEDS[1] - SPEEDS[0]) * (1.0 + node)
    side = torch.linspace(-9.0, 9.0, 10 * resolution, dtype=torch.float64, device="cpu")
    mass = torch.exp(-0.5 * side.square())
    mass = (mass[:, None] * mass).flatten() / mass.sum() ** 2
    noise, log_weights = (
        torch.cartesian_prod(side, side),
        torch.tensor(WEIGHTS, dtype=torch.float64, device="cpu").log(),
    )
    total = 0.0
    for motion, share in zip(
        torch.cartesian_prod(gap, speed), torch.cartesian_prod(weight, weight).prod(-1) / 4.0, strict=True
    ):
        one = torch.ones((), dtype=torch.float64, device="cpu")
        places = torch.stack([futures(motion, branch, one, frames) for branch in range(len(WEIGHTS))])
        sides = (places[1:] - places[0]).T / thickness
        corners = torch.cat([torch.zeros(1, 2, dtype=torch.float64, device="cpu"), torch.linalg.qr(sides).R.T])
        for own, log_weight in enumerate(log_weights):
            # ln p(y) - ln p(y | branch) at y = corner + noise
            beside = -0.5 * (noise.unsqueeze(1) + corners[own] - corners).square().sum(-1)
            ratio = torch.logsumexp(beside + log_weights, -1) + 0.5 * noise.square().sum(-1)
            total -= float(share * log_weight.exp() * (mass @ ratio))
    return total
