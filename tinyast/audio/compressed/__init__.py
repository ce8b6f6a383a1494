"""Recordings that libsndfile or ffmpeg decodes, and what decoders do not report about them."""
