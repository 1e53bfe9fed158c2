"""A panel with its own log-in and its own look, which uses pluggy and finds its modules by entry points."""
