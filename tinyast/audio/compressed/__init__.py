"""Recordings that libsndfile or ffmpeg decodes, and what decoders do not tell of them."""
