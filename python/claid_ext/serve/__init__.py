"""The page and the API of `claid serve`: mark a thing in one photo, see it in the others."""

from claid_ext.serve.app import create_app
from claid_ext.serve.server import run_server
from claid_ext.serve.settings import Settings

__all__ = ["Settings", "create_app", "run_server"]
