-- The Merkle log over the journal, as docs/evidence.md says. All of it can be computed again from the facts, but for
-- the checkpoints: what was once signed must be kept.

-- Full tiles alone: 256 hashes that never change.
CREATE TABLE log_tiles (
    ledger text     NOT NULL,
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    number bigint   NOT NULL CHECK (number >= 0),
    hashes bytea    NOT NULL CHECK (octet_length(hashes) = 8192),
    PRIMARY KEY (ledger, level, number)
);
ALTER TABLE log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes can't be compressed

-- How many facts are in the tree, and the last, partial tile of each level. Whoever seals holds the ledger's row.
CREATE TABLE log_heads (
    ledger  text    PRIMARY KEY,
    size    bigint  NOT NULL DEFAULT 0,
    partial bytea[] NOT NULL DEFAULT '{}'
);
ALTER TABLE log_heads ALTER COLUMN partial SET STORAGE EXTERNAL;

CREATE TABLE log_checkpoints (
    number    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ledger    text        NOT NULL,
    size      bigint      NOT NULL,
    note      text        NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX log_checkpoints_by_size ON log_checkpoints (ledger, size, number);

COMMENT ON COLUMN log_checkpoints.note IS 'The whole signed note (C2SP tlog-checkpoint).';

-- Whose cosignatures are taken, by the operator's word: `timebank witness trust`.
CREATE TABLE log_witnesses (
    ledger     text        NOT NULL,
    key        text        NOT NULL,
    trusted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ledger, key)
);

-- The first cosignature of each witness of the tree of a size, whichever of the ledger's keys has signed that.
CREATE TABLE log_cosignatures (
    ledger       text   NOT NULL,
    size         bigint NOT NULL,
    witness      text   NOT NULL,
    line         text   NOT NULL,
    cosigned_at  bigint NOT NULL,
    PRIMARY KEY (ledger, size, witness)
);

COMMENT ON COLUMN log_cosignatures.line IS 'The whole line of the note (C2SP tlog-cosignature).';
COMMENT ON COLUMN log_cosignatures.cosigned_at IS 'Unix seconds, by the witness''s clock.';
