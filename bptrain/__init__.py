"""bptrain: a command-line trainer whose backpropagation is written out by hand."""

__version__ = "0.1.0"
