"""The accounts' database: Mail-in-a-Box's own tables, left as they are, and ours beside them.

The only place where SQL is written.
"""

# Tables that stand in files of their own are known together with the others.
from mailusers_plugin.store import audit_schema as audit_schema
from mailusers_plugin.store import second_factor_schema as second_factor_schema
from mailusers_plugin.store import token_schema as token_schema
