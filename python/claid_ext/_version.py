"""The version, for the package, the build and whatever the package writes down."""

__version__ = "0.1.0"
