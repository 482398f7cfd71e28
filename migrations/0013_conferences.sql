-- Numbers where all who call them hear each other.

CREATE TABLE conference (
    tenant_id        uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id               uuid NOT NULL,
    number           text NOT NULL CHECK (number ~ '^[0-9]{1,32}$'),
    -- Its PIN, sealed with the cluster key that `password_key` names; null: it has none.
    password_sealed  bytea,
    password_key     integer,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT conference_password CHECK (num_nonnulls(password_sealed, password_key) <> 1)
);

-- A public number, and a name that can be dialled, may lead there.
ALTER TABLE number ADD conference_id uuid,
    ADD FOREIGN KEY (tenant_id, conference_id) REFERENCES conference ON DELETE CASCADE,
    DROP CONSTRAINT number_one_place;
ALTER TABLE dialled_name ADD conference_id uuid,
    ADD FOREIGN KEY (tenant_id, conference_id) REFERENCES conference ON DELETE CASCADE,
    DROP CONSTRAINT dialled_name_one_place;
CREATE INDEX ON number (tenant_id, conference_id);
CREATE INDEX ON dialled_name (tenant_id, conference_id);

-- To one place, of all kinds of places that there are by now.
DO $$
DECLARE
    kinds text;
    what  text;
BEGIN
    FOREACH what IN ARRAY ARRAY['number', 'dialled_name'] LOOP
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO kinds
        FROM pg_attribute
        WHERE attrelid = what::regclass AND NOT attisdropped AND attname LIKE '%\_id'
            AND attname <> 'tenant_id';
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (num_nonnulls(%s) = 1)',
            what, what || '_one_place', kinds);
    END LOOP;
END $$;

CREATE FUNCTION keep_conference_names() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM dialled_name d USING old_rows o
        WHERE d.tenant_id = o.tenant_id AND d.conference_id = o.id;
    END IF;
    INSERT INTO dialled_name (tenant_id, name, conference_id)
    SELECT tenant_id, number, id FROM new_rows;
    RETURN NULL;
END $$;

CREATE TRIGGER names_insert AFTER INSERT ON conference REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_conference_names();
CREATE TRIGGER names_update AFTER UPDATE ON conference
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_conference_names();

CALL guard('conference');
CALL open_to('conference', 'tenantd_node', 'SELECT');
CALL watch('conference', 'published');
GRANT SELECT, INSERT, UPDATE, DELETE ON conference TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON conference TO tenantd_node;
