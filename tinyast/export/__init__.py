"""Turn a trained model into a checkpoint."""
