"""The HTTP service of `serve`: the front that strangers talk to, and the process with the model."""
