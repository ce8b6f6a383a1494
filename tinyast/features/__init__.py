"""Log-mel spectrograms, in numpy."""
