"""What a person sees of a run: quantities, the board, the metrics file, the terminal."""
