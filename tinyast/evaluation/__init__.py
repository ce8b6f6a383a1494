"""Judge models on clips they were not trained on."""
