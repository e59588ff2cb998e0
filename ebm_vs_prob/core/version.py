"""The version of the package, which its metadata and its citation repeat."""

__version__ = "0.1.0"
