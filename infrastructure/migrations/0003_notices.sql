-- What was told to whom, and whether it was delivered: an outbox. It is no projection, for a rebuild must not empty it:
-- each key is written once in the life of the ledger.

CREATE TABLE notices (
    number     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ledger     text        NOT NULL,
    key        text        NOT NULL,
    kind       text        NOT NULL,
    recipient  text        COLLATE "C" NOT NULL,
    parts      jsonb       NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (ledger, key)
);

CREATE INDEX notices_by_recipient ON notices (ledger, recipient, number);

COMMENT ON COLUMN notices.parts IS 'Ids, minutes and times that the texts are made of; nothing personal.';

-- Up to where the journal was told of. Whoever writes notices holds its row, so numbers are committed in their order.
CREATE TABLE notice_checkpoints (
    ledger   text   PRIMARY KEY,
    position bigint NOT NULL
);

-- One row for each notice and each way by which it goes out.
CREATE TABLE notice_deliveries (
    number          bigint      NOT NULL REFERENCES notices,
    adapter         text        NOT NULL,
    ledger          text        NOT NULL,
    state           text        NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'delivered', 'failed', 'withdrawn')),
    attempts        int         NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at    timestamptz,
    last_error      text,
    PRIMARY KEY (number, adapter)
);

CREATE INDEX notice_deliveries_due ON notice_deliveries (ledger, adapter, next_attempt_at, number)
    WHERE state = 'pending';
CREATE INDEX notice_deliveries_failed ON notice_deliveries (ledger, number) WHERE state = 'failed';

-- What a person has read, and doesn't want to be told. ``erased``: their data was erased, and nobody is there to tell.
CREATE TABLE notice_settings (
    ledger    text   NOT NULL,
    person    text   NOT NULL,
    read_upto bigint NOT NULL DEFAULT 0,
    muted     text[] NOT NULL DEFAULT '{}',
    erased    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (ledger, person)
);

-- Whoever erases a person in the vault, by whatever way, ends what is still to be delivered to them; the keys stay, so
-- that it isn't written again. Whoever is named again is told again.
CREATE FUNCTION forget_notices() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO notice_settings (ledger, person, erased)
    SELECT ledger, person, true FROM gone
    ON CONFLICT (ledger, person) DO UPDATE SET erased = true, muted = '{}';
    UPDATE notice_deliveries d SET state = 'withdrawn', last_error = NULL
    FROM gone JOIN notices n ON n.ledger = gone.ledger AND n.recipient = 'person:' || gone.person
    WHERE d.number = n.number AND d.state IN ('pending', 'failed');
    RETURN NULL;
END
$$;

CREATE FUNCTION tell_again() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE notice_settings s SET erased = false FROM come
    WHERE s.ledger = come.ledger AND s.person = come.person AND s.erased;
    RETURN NULL;
END
$$;

CREATE TRIGGER forget_notices AFTER DELETE ON vault_people REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_notices();
CREATE TRIGGER tell_again AFTER INSERT ON vault_people REFERENCING NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION tell_again();
