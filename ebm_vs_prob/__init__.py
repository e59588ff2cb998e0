"""The same tasks twice: normalised Gibbs-Boltzmann models in Pyro and unnormalised energy-based models, measured.

The public names and their modules stand in `__init__.pyi`. They load when first used, so that the import stays light.
"""

import os

from .core.lazy_names import attach_stub
from .core.version import __version__

# MKL's products of matrices round by where these begin in memory, which is another place in another company of
# replicates, unless it is told to give the same bits wherever they begin. It looks when it is first used.
os.environ.setdefault("MKL_CBWR", "AUTO")

__getattr__, __dir__, __all__ = attach_stub(__name__)
__all__ += ["__version__"]
