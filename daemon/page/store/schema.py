"""The layout of the page's store, version by version.

Times are milliseconds since 1970 in UTC. A prediction takes about 200 bytes with its indexes.
"""

from __future__ import annotations

FILE = "page.sqlite3"
MIGRATIONS: tuple[str, ...] = (
    """
    -- A daemon that the page follows. `seq` is the newest message stored of `journal`.
    CREATE TABLE daemons (
        number INTEGER PRIMARY KEY,
        endpoint TEXT NOT NULL UNIQUE,
        node TEXT,
        journal TEXT,
        seq INTEGER NOT NULL DEFAULT 0,
        last_id TEXT                         -- id of the message `seq`
    );
    CREATE TABLE sources (
        number INTEGER PRIMARY KEY,
        daemon INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (daemon, kind, name)
    );
    CREATE TABLE labels (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE models (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

    -- One version of a file, or one kept clip of a microphone.
    CREATE TABLE files (
        number INTEGER PRIMARY KEY,
        source INTEGER NOT NULL,
        file_id BLOB UNIQUE,
        path TEXT NOT NULL,
        encoded INTEGER NOT NULL DEFAULT 0,  -- the path is percent-encoded
        ended INTEGER,                       -- when its end state was published
        state TEXT,
        windows INTEGER,
        duration REAL,                       -- s
        error_code TEXT,
        error TEXT
    );
    CREATE INDEX ended_files ON files (ended) WHERE ended IS NOT NULL;

    CREATE TABLE predictions (
        number INTEGER PRIMARY KEY,
        id BLOB NOT NULL,                    -- unique in a journal
        source INTEGER NOT NULL,
        file INTEGER,
        at INTEGER NOT NULL,                 -- of the recording
        published INTEGER NOT NULL,
        start INTEGER NOT NULL,              -- ms from the start of the file or run
        length INTEGER NOT NULL,             -- ms
        padded INTEGER NOT NULL,             -- ms
        clock TEXT,                          -- NULL: capture
        doubt INTEGER NOT NULL DEFAULT 0,    -- two sources of the time disagree
        label INTEGER NOT NULL,
        score INTEGER NOT NULL,              -- millionths
        threshold INTEGER NOT NULL,          -- millionths
        reason TEXT,                         -- NULL: accepted
        level INTEGER NOT NULL,              -- hundredths of dBFS
        latency INTEGER NOT NULL,            -- ms
        top BLOB NOT NULL,                   -- label (2 bytes) and score (4), best first
        model INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX prediction_ids ON predictions (id, source);
    CREATE INDEX prediction_times ON predictions (at);
    CREATE INDEX prediction_labels ON predictions (label, at);

    -- Counts of a quarter of an hour; they outlive the predictions. Zones differ by quarters.
    CREATE TABLE counts (
        quarter INTEGER NOT NULL,            -- at / 900,000
        source INTEGER NOT NULL,
        label INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        rejected INTEGER NOT NULL,
        PRIMARY KEY (quarter, source, label)
    ) WITHOUT ROWID;

    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        source INTEGER NOT NULL,
        label INTEGER NOT NULL,
        began INTEGER NOT NULL,
        until INTEGER NOT NULL,
        peak REAL NOT NULL,
        windows INTEGER NOT NULL,
        ended TEXT                           -- the reason; NULL while it goes on
    ) WITHOUT ROWID;
    CREATE INDEX event_times ON events (began);

    CREATE TABLE gaps (
        id BLOB PRIMARY KEY,
        source INTEGER NOT NULL,
        began INTEGER NOT NULL,
        duration REAL NOT NULL,              -- s
        reason TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE statuses (
        number INTEGER PRIMARY KEY,
        id BLOB NOT NULL,
        daemon INTEGER NOT NULL,
        at INTEGER NOT NULL,
        what TEXT NOT NULL,
        source TEXT,
        code TEXT,
        text TEXT NOT NULL,
        UNIQUE (id, daemon)
    );
    CREATE INDEX status_times ON statuses (at);

    -- One row for each minute, from heartbeats and predictions.
    CREATE TABLE health (
        daemon INTEGER NOT NULL,
        minute INTEGER NOT NULL,             -- at / 60,000
        files INTEGER NOT NULL,              -- backlog
        messages INTEGER NOT NULL,           -- backlog
        windows INTEGER NOT NULL DEFAULT 0,
        latency INTEGER NOT NULL DEFAULT 0,  -- ms, sum over the windows
        PRIMARY KEY (daemon, minute)
    ) WITHOUT ROWID;

    -- What people said of predictions. Never pruned; holds all it takes to cut the sound.
    CREATE TABLE reviews (
        number INTEGER PRIMARY KEY,
        prediction BLOB NOT NULL,            -- its id
        source INTEGER NOT NULL,
        file INTEGER,
        at INTEGER NOT NULL,
        start INTEGER NOT NULL,
        length INTEGER NOT NULL,
        heard INTEGER NOT NULL,              -- label that the model gave
        score INTEGER NOT NULL,              -- millionths
        verdict TEXT NOT NULL,               -- right, wrong, other or ignore
        label TEXT,                          -- the right one, if known
        reviewed INTEGER NOT NULL,
        UNIQUE (prediction, source)
    );

    CREATE TABLE tokens (name TEXT PRIMARY KEY, digest BLOB NOT NULL, made INTEGER NOT NULL);
    """,
    """
    CREATE INDEX prediction_sources ON predictions (source, at);
    CREATE INDEX prediction_files ON predictions (file) WHERE file NOTNULL;
    CREATE INDEX count_labels ON counts (label, quarter, accepted, rejected);
    CREATE INDEX open_events ON events (began) WHERE ended IS NULL;

    -- Sums of `counts`.
    ALTER TABLE labels ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE labels ADD COLUMN rejected INTEGER NOT NULL DEFAULT 0;
    UPDATE labels SET
        accepted = (SELECT coalesce(sum(accepted), 0) FROM counts WHERE label = labels.number),
        rejected = (SELECT coalesce(sum(rejected), 0) FROM counts WHERE label = labels.number);
    """,
    """
    ALTER TABLE health ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;  -- windows
    ALTER TABLE health ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE health ADD COLUMN journal INTEGER;                    -- bytes
    ALTER TABLE health ADD COLUMN store INTEGER;                      -- bytes

    -- All that a label's thresholds need.
    DROP INDEX prediction_labels;
    CREATE INDEX prediction_labels ON predictions (label, at, score, source, reason);
    """,
    """
    ALTER TABLE predictions ADD COLUMN private INTEGER NOT NULL DEFAULT 0;  -- not to be heard

    -- Parts of files, in ms, that are not to be heard.
    CREATE TABLE voices (
        path TEXT NOT NULL,
        start INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (path, start)
    ) WITHOUT ROWID;
    """,
)
VERSION = len(MIGRATIONS)
