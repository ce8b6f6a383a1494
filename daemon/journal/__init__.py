"""The journal of messages and the ledger of files, in SQLite."""
