"""``python -m mailusers_plugin`` is the command ``mailusers``."""

from mailusers_plugin.cli import main

main(prog_name="mailusers")
