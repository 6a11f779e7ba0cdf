"""A search over values of config keys: many runs, of which each is a trial."""
