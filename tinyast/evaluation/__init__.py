"""Evaluate models on clips that they were not trained on."""
