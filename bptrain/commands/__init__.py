"""The commands, one file each. Nothing is imported here: the command line starts without torch."""
