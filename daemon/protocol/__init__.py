"""The message contract: messages, decoding, keys."""
