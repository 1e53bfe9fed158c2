"""The command line: the same use cases as the page and the API, safe beside a running server."""

from mailusers_plugin.cli.main import main

__all__ = ["main"]
