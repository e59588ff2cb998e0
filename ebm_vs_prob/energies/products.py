"""Batched products with replicates' weights, in training and where a row must not depend on the rows beside it.

The kernels behind a matrix product are chosen by its shape: for few rows, for one output, for a lone replicate. Each
sums in an order of its own. A model asked for one x and then for a hundred would answer differently in the last bits,
which a descent near a ridge and a Metropolis test turn into other answers. The functions on whole rows keep to shapes
whose kernels treat all rows alike: rows a multiple of `ROWS`, products of at least `SMALLEST` multiply-adds, two
replicates in place of one, and weights that lie in order.
"""

from __future__ import annotations

import math

import torch
from torch import nn

#: Kernels of all processors take this many rows as whole panels.
ROWS = 64

#: Multiply-adds of one replicate below which torch's batched product is a plain loop.
SMALLEST = 400


def batched_matmul(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(R or 1, *n, in) times (R, in, out), as one batched product."""
    flat = _flat(value)
    found = torch.bmm(flat, weight) if flat.shape[0] == weight.shape[0] else torch.matmul(flat, weight)
    return found.reshape(weight.shape[0], *value.shape[1:-1], weight.shape[-1])


def row_matmul(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`batched_matmul` whose rows depend neither on how many there are nor on other replicates."""
    rows, weight = math.prod(value.shape[1:-1]), in_order(weight)
    found = product(whole_rows(value, weight.shape[1] * weight.shape[2]), weight)
    return found[:, :rows].reshape(weight.shape[0], *value.shape[1:-1], weight.shape[-1])


def in_order(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices (R, rows, columns) whose numbers lie row by row, one matrix after the other.

    `contiguous` leaves the strides of axes of one entry as they are, and a kernel is chosen by strides.
    """
    _, rows, columns = matrices.shape
    if matrices.stride() == (rows * columns, columns, 1):
        return matrices
    return matrices.clone(memory_format=torch.contiguous_format)


def whole_rows(value: torch.Tensor, narrowest: int) -> torch.Tensor:
    """(R, *n, in) as (R, rows, in) with rows of zeros after the last, for products of which the smallest has
    in times out of `narrowest`."""
    flat = in_order(_flat(value))
    least = math.ceil(SMALLEST / max(narrowest, 1))
    wanted = -(-max(flat.shape[1], least) // ROWS) * ROWS
    return flat if wanted == flat.shape[1] else nn.functional.pad(flat, (0, 0, 0, wanted - flat.shape[1]))


def without_padding(rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """(R, rows, out) without the rows of zeros that `whole_rows` added: (R, *shape, out)."""
    return rows.flatten(1, -2)[:, : shape.numel()].reshape(rows.shape[0], *shape, rows.shape[-1])


def product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Whole rows (R or 1, rows, in) times (R, in, out), forward and backward by the kernels of several replicates."""
    if rows.shape[0] != weight.shape[0]:
        return torch.matmul(rows, weight)
    if weight.shape[0] == 1:
        return torch.bmm(rows.expand(2, -1, -1), weight.expand(2, -1, -1))[:1]
    return torch.bmm(rows, weight)


def affine(bias: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """bias + rows weight for whole rows: (R, rows or 1, out), (R, rows, in) and (R, in, out), likewise."""
    if weight.shape[0] == 1:
        return torch.baddbmm(*(part.expand(2, -1, -1) for part in (bias, rows, weight)))[:1]
    return torch.baddbmm(bias, rows, weight)


def _flat(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(value.shape[0], math.prod(value.shape[1:-1]), value.shape[-1])
