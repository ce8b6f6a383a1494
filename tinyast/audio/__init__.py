"""Read recordings and cut them into windows at the model's rate."""
