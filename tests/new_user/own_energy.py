"""An energy that is bounded below: a network's features, squared."""

import torch
from torch import nn


class SquaredFeatures(nn.Module):
    def __init__(self, task):
        super().__init__()
        width = task.x_space.dim + task.y_space.dim
        self.features = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 8))

    def forward(self, x, y):
        return self.features(torch.cat([x, y], -1)).square().sum(-1)
