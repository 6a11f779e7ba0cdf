"""An experiment: its config, its plan, what is built from it, and its run from start to end."""
