"""The version, and nothing else: what pyproject.toml reads it from."""

__version__ = "0.1.0"
