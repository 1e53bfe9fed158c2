"""``python -m tests.servers.limited NAME NUMBER MODULE ARGUMENTS…``: runs a module with a limit of the system's.

NAME is one of ``resource``'s without ``RLIMIT_``, such as ``NOFILE``.
"""

import resource
import runpy
import sys


def main() -> None:
    """Set the limit and become the module."""
    _, name, number, module, *arguments = sys.argv
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(number), int(number)))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
