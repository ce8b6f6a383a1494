"""Settings: schema, loading, reloading."""
