"""Requests made up from the API's description, sent to a real panel: ``python -m tests.fuzz --requests 10000``."""
