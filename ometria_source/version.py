"""The version, where each part of the package can import it."""

__version__ = "0.1.0"
