"""WAV files: their header, their metadata and their samples."""
