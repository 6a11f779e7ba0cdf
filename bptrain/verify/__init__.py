"""The referees: is every hand-written gradient right?"""
