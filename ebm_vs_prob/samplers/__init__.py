"""Samplers as pure kernels: `init(potential, y, step_size)` and `step(potential, state, noise, uniform, bounds)`.

`sample_chains` draws with any of them and reports R-hat and effective sample sizes beside the draws.
"""

from .base import Info, Kernel, MetropolisState, Potential, State, gibbs_potential
from .chains import KERNELS, Samples, get_kernel, run, sample_chains, warm_up
from .diagnostics import diagnostics
from .draws import Draws
from .dual_averaging import DualAveraging
from .from_descent import sample_from_descent
from .hmc import HMC
from .mala import MALA
from .nuts import NUTS
from .tempering import Tempering
from .ula import ULA

__all__ = [
    "HMC",
    "KERNELS",
    "MALA",
    "NUTS",
    "ULA",
    "Draws",
    "DualAveraging",
    "Info",
    "Kernel",
    "MetropolisState",
    "Potential",
    "Samples",
    "State",
    "Tempering",
    "diagnostics",
    "get_kernel",
    "gibbs_potential",
    "run",
    "sample_chains",
    "sample_from_descent",
    "warm_up",
]
