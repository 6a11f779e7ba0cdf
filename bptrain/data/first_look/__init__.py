"""A look at data of a user's own, for a config to start from: what it is, and how it is read."""
