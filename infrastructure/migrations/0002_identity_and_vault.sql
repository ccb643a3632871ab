-- Who may call, and what the journal must never hold: names and remarks.

CREATE TABLE tokens (
    -- SHA-256 of the token. Tokens are 256 random bits, so a plain hash can't be searched backwards.
    hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    ledger text NOT NULL,
    person text NOT NULL,
    role text NOT NULL CHECK (role IN ('volunteer', 'staff', 'partner', 'auditor', 'admin')),
    community text,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE vault_people (
    ledger text NOT NULL,
    person text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (ledger, person)
);

CREATE TABLE vault_remarks (
    ledger text NOT NULL,
    record text NOT NULL,
    remark text NOT NULL,
    PRIMARY KEY (ledger, record)
);
