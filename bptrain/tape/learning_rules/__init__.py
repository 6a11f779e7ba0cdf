"""Learning rules: what the weights get in place of the gradient, as changes of a recorded step."""
