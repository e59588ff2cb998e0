"""The same tasks twice: normalised Gibbs-Boltzmann models in Pyro and unnormalised energy-based models, measured.

The public names and their modules stand in `__init__.pyi`. They load when first used, so that the import stays light.
"""

from .core.lazy_names import attach_stub
from .core.version import __version__

__getattr__, __dir__, __all__ = attach_stub(__name__)
__all__ += ["__version__"]
