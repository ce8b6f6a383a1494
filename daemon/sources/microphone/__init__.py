"""Live audio from a capture process."""
