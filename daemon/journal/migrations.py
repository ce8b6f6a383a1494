"""The layout of the state on disk, version by version.

A change is a new entry at the end of MIGRATIONS, never an edit of one that has shipped: a newer
daemon applies the missing entries to an older state, and an older daemon refuses a newer state.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;

    -- The stream. `body` is the JSON exactly as it was published.
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        at INTEGER NOT NULL,      -- seconds since 1970
        topic TEXT NOT NULL,
        body BLOB NOT NULL
    );

    -- The newest seq of each type, kept apart so that pruning messages never reuses a number.
    CREATE TABLE newest (
        type TEXT PRIMARY KEY,
        seq INTEGER NOT NULL
    ) WITHOUT ROWID;

    -- The ledger of files: the newest version of each path and what became of it.
    CREATE TABLE files (
        path BLOB PRIMARY KEY,
        source TEXT NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        version INTEGER NOT NULL,
        file_id TEXT NOT NULL,
        state TEXT NOT NULL,      -- open, done, failed, incomplete or forgotten
        windows INTEGER NOT NULL, -- predictions committed
        digest BLOB               -- of the content, once it ended
    ) WITHOUT ROWID;
    CREATE INDEX open_files ON files (source) WHERE state = 'open';
    """,
    """
    -- Sounds that go on, so that they can be ended after a kill. `body` is their last message.
    CREATE TABLE open_events (
        id TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    -- Bytes of topics and bodies: the limit on messages counts nothing else.
    INSERT INTO meta
        SELECT 'message_bytes', ifnull(sum(length(topic) + length(body)), 0) FROM messages;

    -- When a row of the ledger was written, s since 1970; NULL: before this version.
    ALTER TABLE files ADD COLUMN at INTEGER;
    INSERT INTO meta VALUES ('ledger_from', strftime('%s', 'now'));

    -- Work that was in hand when the daemon was killed: files by file_id, requests by name.
    CREATE TABLE crashes (
        work TEXT PRIMARY KEY,
        step INTEGER NOT NULL,  -- windows committed by then
        count INTEGER NOT NULL  -- crashes in a row at that step
    ) WITHOUT ROWID;
    """,
)
VERSION = len(MIGRATIONS)
