"""One file a step; see CONTRIBUTING.md for how to add one."""
