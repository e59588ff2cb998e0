"""Studies: validated TOML to plan, batches, records and a tidy table. Its names, in `__init__.pyi`, load when used."""

from ..core.lazy_names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__)
