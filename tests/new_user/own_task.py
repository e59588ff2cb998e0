"""Two noisy points, one of them three times as likely."""

import math

import numpy as np
import torch

from ebm_vs_prob import Box, DensityReference, Labels, NoExactReference, Task, check_pairs, register_task


class Reference(DensityReference):
    def log_density(self, x, y):
        eps = self.noise
        each = [math.log(w) - 0.5 * ((y[..., 0] - m) / eps) ** 2 for w, m in ((0.75, -1.0), (0.25, 1.0))]
        return torch.logaddexp(*each) - math.log(eps * math.sqrt(2 * math.pi))

    def distance(self, x, y):
        _, y = check_pairs(self.task, x, y)
        return (y[:, 0].abs() - 1).abs()

    def answers(self, x):
        return torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(len(x), -1, -1)

    def entropy(self):
        raise NoExactReference("nobody has computed the entropy of uneven points")


@register_task
class UnevenPoints(Task):
    """y is -1 or, a quarter of the time, +1, blurred."""

    name = "uneven_points"
    summary = "y is -1 or, a quarter of the time, +1, blurred; unconditional"
    truth = "log-density in closed form"

    def __init__(self, **options):
        super().__init__(**options)
        extent = max(3.0, 1 + 6 * self.thickness)
        self.x_space, self.y_space, self.z_space = Box((0.0, 1.0), 0), Box((-extent, extent), 1), Labels(2)
        self.manifold_dim = 0
        self.reference = Reference(self)

    def draw(self, x, rng):
        label = (rng.random(len(x)) < 0.25).astype(int)
        return (2.0 * label - 1)[:, None] + self.thickness * rng.standard_normal((len(x), 1)), label

    def _draw(self, n, rng, split):
        x = np.empty((n, 0))
        return x, *self.draw(x, rng)
