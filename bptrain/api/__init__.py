"""The commands as functions of Python, which return what the commands print."""
