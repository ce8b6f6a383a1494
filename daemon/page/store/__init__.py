"""The store of what daemons published, in SQLite: schema, writer, reader."""
