"""TinyAST by Transformers' conventions: configuration, feature extractor, network."""
