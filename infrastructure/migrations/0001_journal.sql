-- The journal: facts that never change, numbered without gaps within each ledger.
--
-- Every function that reads by index forbids sequential scans and JIT for itself. A journal grows faster than its
-- statistics, and a plan cached while the table was small would otherwise be kept when it no longer is.

CREATE TABLE ledgers (
    ledger      text        PRIMARY KEY CHECK (length(ledger) BETWEEN 1 AND 200),
    head        bigint      NOT NULL DEFAULT 0,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10);  -- one hot row, updated by every append: leave room to do so within its page

COMMENT ON TABLE ledgers IS 'One row a ledger. An append locks it, so commits have the order of positions.';

CREATE TABLE facts (
    ledger      text        NOT NULL,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    type        text        NOT NULL,
    tags        text[]      NOT NULL,
    data        bytea       NOT NULL,
    PRIMARY KEY (ledger, position)
);

COMMENT ON COLUMN facts.recorded_at IS 'Given by the database under the ledger''s lock; never goes back.';
COMMENT ON COLUMN facts.data IS 'The exact bytes that evidence is computed over (JSON in UTF-8).';

CREATE VIEW facts_readable AS
    SELECT ledger, position, recorded_at, type, tags, convert_from(data, 'UTF8')::jsonb AS data FROM facts;

-- Where each tag occurs: one number a tag of a fact, 34 bits of a hash of tag and ledger before the last 30 bits of the
-- position, so that one tag's positions follow each other in the index. Beyond the first 2^30 positions, each next
-- 2^30 have hashes of their own. Whoever reads by it compares the fact's own tags, and reads the last facts, which it
-- doesn't reach yet, one by one. docs/decisions/0002-journal-index.md has the figures.
CREATE TABLE fact_tags (
    tag_key bigint NOT NULL
);

CREATE INDEX fact_tags_by_key ON fact_tags (tag_key);

CREATE TABLE tag_heads (
    ledger      text   PRIMARY KEY,
    head        bigint NOT NULL
) WITH (fillfactor = 10);  -- hot rows, as those of ledgers

COMMENT ON TABLE tag_heads IS 'The position up to which a ledger''s facts are in fact_tags; without a row, none is.';


-- What the database itself refuses ------------------------------------------------------------------------------

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the journal is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'Record a reversal as a new fact.';
END
$$;

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON facts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON fact_tags
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE DELETE OR TRUNCATE ON ledgers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE DELETE OR TRUNCATE ON tag_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: session_replication_role must not be a way round them.
ALTER TABLE facts ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE fact_tags ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE ledgers ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE tag_heads ENABLE ALWAYS TRIGGER refuse_change;

-- What a trigger calls or reads must not be the session's to choose: names are qualified, or the path is fixed with the
-- temporary schema last, where no table of the session's can stand in for one of ours.

-- A head only rises, and its time is the database's own: no client can choose when something was recorded.
CREATE FUNCTION advance_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.head := 0;
        NEW.recorded_at := pg_catalog.clock_timestamp();
    ELSIF NEW.ledger OPERATOR(pg_catalog.<>) OLD.ledger OR NEW.head OPERATOR(pg_catalog.<) OLD.head THEN
        RAISE EXCEPTION 'ledger % at % can''t become % at %: a head never goes down',
            OLD.ledger, OLD.head, NEW.ledger, NEW.head USING ERRCODE = 'insufficient_privilege';
    ELSE
        NEW.recorded_at := greatest(OLD.recorded_at, pg_catalog.clock_timestamp());
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER advance_ledger BEFORE INSERT OR UPDATE ON ledgers
    FOR EACH ROW EXECUTE FUNCTION advance_ledger();

-- Takes a ledger's next facts into fact_tags, and says how many. None while somebody else does so.
-- The owner's rights are for fact_tags and tag_heads, which nobody else may write.
CREATE FUNCTION index_facts(in_ledger text, facts_max bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    indexed bigint;
    upto bigint;
    seed bigint;
BEGIN
    SELECT head INTO indexed FROM tag_heads WHERE ledger = in_ledger FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO tag_heads (ledger, head) SELECT ledger, 0 FROM ledgers WHERE ledger = in_ledger
        ON CONFLICT DO NOTHING RETURNING head INTO indexed;
        IF NOT FOUND THEN
            RETURN 0;
        END IF;
    END IF;
    -- Up to facts that are there: a transaction's head is raised before its facts are.
    SELECT max(position) INTO upto FROM facts
    WHERE ledger = in_ledger AND position > indexed AND position <= indexed + facts_max;
    IF upto IS NULL THEN
        RETURN 0;
    END IF;
    FOR epoch IN ((indexed + 1) >> 30) .. (upto >> 30) LOOP
        seed := hashtextextended(in_ledger, epoch);
        -- In order, since neighbours share a way down the index.
        INSERT INTO fact_tags (tag_key)
        SELECT hashtextextended(unnest(tags), seed) << 30 | (position & 1073741823) AS key
        FROM facts WHERE ledger = in_ledger AND position > indexed AND position <= upto AND position >> 30 = epoch
        ORDER BY key;
    END LOOP;
    UPDATE tag_heads SET head = upto WHERE ledger = in_ledger;
    RETURN upto - indexed;
END
$$;

-- New facts are exactly those up to the head that their transaction has just set, next to the last one before. Their
-- tags are indexed behind them (infrastructure/tag_index.py); where nobody does, the append that leaves too many to be
-- read one by one.
CREATE FUNCTION admit_facts() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    added record;
BEGIN
    FOR added IN
        SELECT ledger, min(position) AS first, max(position) AS last, count(*) AS facts,
            min(recorded_at) AS earliest, max(recorded_at) AS latest
        FROM new_facts GROUP BY ledger
    LOOP
        -- One ledger at a time: joined into one query, the planner may read all facts to find the one before.
        PERFORM FROM ledgers
        WHERE ledger = added.ledger AND head = added.last AND added.facts = added.last - added.first + 1
            AND recorded_at = added.earliest AND recorded_at = added.latest
            AND (added.first = 1 OR EXISTS (
                SELECT FROM facts WHERE facts.ledger = added.ledger AND facts.position = added.first - 1));
        IF NOT FOUND THEN
            RAISE EXCEPTION 'positions % to % of ledger % are not its next ones',
                added.first, added.last, added.ledger
                USING ERRCODE = 'insufficient_privilege', HINT = 'Facts are added by append_facts().';
        END IF;
        IF NOT EXISTS (SELECT FROM tag_heads WHERE ledger = added.ledger AND head > added.last - 8192) THEN
            PERFORM index_facts(added.ledger, added.last);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER admit_facts AFTER INSERT ON facts REFERENCING NEW TABLE AS new_facts
    FOR EACH STATEMENT EXECUTE FUNCTION admit_facts();

-- At commit the head is a fact that exists: a head raised without facts would be a gap.
CREATE FUNCTION head_exists() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM facts WHERE ledger = NEW.ledger AND position = NEW.head) THEN
        RAISE EXCEPTION 'ledger % has no fact at its head %', NEW.ledger, NEW.head
            USING ERRCODE = 'insufficient_privilege', HINT = 'Facts are added by append_facts().';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER head_exists AFTER UPDATE ON ledgers DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.head <> OLD.head) EXECUTE FUNCTION head_exists();


-- What infrastructure/journal.py calls ---------------------------------------------------------------------------

CREATE TYPE new_fact AS (type text, tags text[], data bytea);

-- Locks the ledger's row, takes the next positions for facts that the same transaction must insert, and tells
-- listeners. Takes nothing and returns no row if the ledger is missing, or if its head is past `checked`, up to which
-- the caller knows that nothing conflicts (null: no matter).
CREATE FUNCTION take_positions(in_ledger text, checked bigint, wanted bigint)
    RETURNS TABLE (last_position bigint, last_recorded_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledgers SET head = head + wanted
    WHERE ledger = in_ledger AND (checked IS NULL OR head <= checked)
    RETURNING head, recorded_at INTO last_position, last_recorded_at;
    IF FOUND THEN
        PERFORM pg_notify('timebank_facts', in_ledger);
        RETURN NEXT;
    END IF;
END
$$;

-- Takes positions and inserts the facts there, in one round trip. Many facts go faster by COPY after take_positions.
CREATE FUNCTION append_facts(in_ledger text, checked bigint, added new_fact[])
    RETURNS TABLE (last_position bigint, last_recorded_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    SELECT * INTO last_position, last_recorded_at FROM take_positions(in_ledger, checked, cardinality(added));
    IF FOUND THEN
        INSERT INTO facts (ledger, position, recorded_at, type, tags, data)
        SELECT in_ledger, last_position - cardinality(added) + n, last_recorded_at, type, tags, data
        FROM unnest(added) WITH ORDINALITY AS fact (type, tags, data, n);
        RETURN NEXT;
    END IF;
END
$$;

-- Facts with after < position <= upto in order, of any type or of the given ones.
CREATE FUNCTION facts_between(in_ledger text, after bigint, upto bigint, in_types text[])
    RETURNS SETOF facts LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT * FROM facts
    WHERE ledger = in_ledger AND position > after AND position <= upto
        AND (in_types IS NULL OR type = ANY (in_types))
    ORDER BY position;
END
$$;

-- Facts with after < position <= upto that have one of the tags at least, read one by one.
CREATE FUNCTION facts_unindexed(in_ledger text, in_tags text[], after bigint, upto bigint)
    RETURNS SETOF facts LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT * FROM facts
    WHERE ledger = in_ledger AND position = ANY (ARRAY(
        SELECT position FROM (
            SELECT position, unnest(tags) AS tag FROM facts
            WHERE ledger = in_ledger AND position > after AND position <= upto
        ) AS found JOIN unnest(in_tags) AS wanted (tag) USING (tag)
    ))
    ORDER BY position;
END
$$;

-- Facts with after < position <= upto that have one of the tags at least, each once, in order; upto is no further than
-- the head. As far as they are indexed, one index probe a tag, whatever the planner believes (OFFSET 0 keeps it from
-- merging the probes into a scan).
CREATE FUNCTION facts_tagged(in_ledger text, in_tags text[], after bigint, upto bigint)
    RETURNS SETOF facts LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
DECLARE
    indexed bigint := coalesce((SELECT head FROM tag_heads WHERE ledger = in_ledger), 0);
    last bigint := least(upto, indexed);
BEGIN
    RETURN QUERY
    SELECT fact.* FROM (
        SELECT found.position, array_agg(wanted.tag) AS tags
        FROM (
            SELECT tag, epoch << 30 AS start, hashtextextended(tag, hashtextextended(in_ledger, epoch)) << 30 AS key
            FROM unnest(in_tags) AS tag CROSS JOIN generate_series(after >> 30, last >> 30) AS epoch
            OFFSET 0
        ) AS wanted CROSS JOIN LATERAL (
            SELECT wanted.start + (tag_key & 1073741823) AS position FROM fact_tags
            WHERE tag_key BETWEEN wanted.key + greatest(after + 1 - wanted.start, 0)
                AND wanted.key + least(last - wanted.start, 1073741823)
            OFFSET 0
        ) AS found
        GROUP BY found.position
    ) AS hit CROSS JOIN LATERAL (
        SELECT * FROM facts
        WHERE facts.ledger = in_ledger AND facts.position = hit.position AND facts.tags && hit.tags
        OFFSET 0
    ) AS fact
    ORDER BY fact.position;
    IF upto > indexed THEN
        RETURN QUERY SELECT * FROM facts_unindexed(in_ledger, in_tags, greatest(after, indexed), upto);
    END IF;
END
$$;

-- The last position recorded at or before the time: times never go back, so halving finds it without an index.
CREATE FUNCTION position_at(in_ledger text, at timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT head FROM ledgers WHERE ledger = in_ledger), 0);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT recorded_at <= at FROM facts WHERE ledger = in_ledger AND position = middle) THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
