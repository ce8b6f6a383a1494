"""Teach a checkpoint new kinds of sound from a few clips each, with numpy alone."""
