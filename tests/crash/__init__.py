"""A server that is killed again and again while clients change users; ``python -m tests.crash --kills 300``."""
