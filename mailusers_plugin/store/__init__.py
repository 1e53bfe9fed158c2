"""The accounts' database: Mail-in-a-Box's own tables, left as they are, and ours beside them.

The only place where SQL is written.
"""
