"""An experiment: its config, its plan, its model and data, and its run from start to end."""
