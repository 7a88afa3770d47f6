"""The version of the library; pyproject.toml reads it from here."""

__version__ = "2.0.0"
