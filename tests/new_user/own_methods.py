"""One method of each family."""

import math

from torch import nn

import ebm_vs_prob as evp


@evp.register_method
class UniformContrast(evp.Method):
    """Tell data from uniform noise (Gutmann and Hyvärinen 2010)."""

    name = "uniform_contrast"
    family = "ebm"
    principle = "contrastive"
    normalised = False
    summary = "logistic regression of data against uniform noise"
    references = ("own2026contrast",)
    bibliography = """@article{own2026contrast,
      author = {Own, Olga},
      title = {A Contrast of My Own},
      journal = {Journal of Own Methods},
      year = {2026},
      url = {https://example.org/contrast},
    }"""

    @classmethod
    def energy_evaluations(cls, options):
        return 6.0

    @classmethod
    def build(cls, setting):
        return evp.EnergyModel(cls, setting, evp.build_energy(setting, level=True))

    @classmethod
    def train(cls, model):
        low, high = model.y_box.bounds

        def loss(batch):
            negative = low + (high - low) * batch.noise["y"]
            data, noise = model.module(batch.x, batch.y), model.module(batch.x, negative)
            return (evp.softplus(data) + evp.softplus(-noise)).mean(-1)

        return evp.train(model, loss, {"y": evp.Noise("uniform", (model.setting.budget.batch_size, model.y_box.dim))})


class GaussianEnergy(nn.Module):
    """E(x, y) = -ln N(y; m(x), s(x)^2), normalised as it stands."""

    def __init__(self, head, dim):
        super().__init__()
        self.head, self.dim, self.num_replicates = head, dim, head.num_replicates

    @property
    def multiply_adds(self):
        return self.head.multiply_adds

    def forward(self, x, y):
        mean, scale = self.head(x).split(self.dim, -1)
        scale = evp.softplus(scale) + 0.01
        return (0.5 * ((y - mean) / scale) ** 2 + scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1)


class GaussianModel(evp.DensityModel):
    def log_prob(self, x, y):
        return -self.energy(x, y)


@evp.register_method
class OneGaussian(evp.Method):
    """A normal distribution whose mean and scale are a network's, by maximum likelihood."""

    name = "one_gaussian"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "a normal distribution of y given x, by maximum likelihood"

    @classmethod
    def build(cls, setting):
        dim = setting.tasks[0].y_space.dim
        return GaussianModel(cls, setting, GaussianEnergy(evp.build_head(setting, 2 * dim), dim))

    @classmethod
    def train(cls, model):
        return evp.train(model, lambda batch: model.module(batch.x, batch.y).mean(-1))
