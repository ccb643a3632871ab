-- What the service's role may do, granted anew after every migration. A migration that adds a table adds its line here.
GRANT SELECT ON schema_migrations TO timebank_service;
GRANT SELECT, INSERT ON facts TO timebank_service;
GRANT SELECT, INSERT, UPDATE ON ledgers TO timebank_service;
GRANT SELECT ON fact_tags, tag_heads, facts_readable TO timebank_service;
GRANT SELECT, INSERT, UPDATE ON tokens, vault_people, vault_remarks TO timebank_service;
GRANT DELETE ON vault_people, vault_remarks TO timebank_service;
-- The projections' schemas belong to the service, which folds them anew beside the old ones and swaps them.
DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO timebank_service', current_database()); END $$;
GRANT SELECT, INSERT, UPDATE ON notices, notice_checkpoints, notice_deliveries, notice_settings TO timebank_service;
GRANT SELECT ON log_witnesses TO timebank_service;
GRANT SELECT, INSERT ON log_tiles, log_checkpoints, log_cosignatures TO timebank_service;
GRANT SELECT, INSERT, UPDATE ON log_heads TO timebank_service;
