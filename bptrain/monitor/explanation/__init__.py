"""One training step, told as the chain rule with its own numbers, on a terminal or as a page."""
