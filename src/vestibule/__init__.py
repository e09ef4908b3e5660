"""Vestibule: an identity-aware access gateway whose evidence outsiders can check."""

__all__ = ["__version__"]

__version__ = "0.1.0"
