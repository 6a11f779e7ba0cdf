"""What a person sees of a run: metrics, the board, the metrics file, the terminal."""
