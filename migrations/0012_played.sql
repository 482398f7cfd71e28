-- What phones are played: music while they are on hold, and numbers that say something and hang up.

-- Sounds are named, and not referred to by their ids, so that a file may bring a sound and what plays it
-- in any order; `apply` sees that there is one.
ALTER TABLE tenant ADD music text;
ALTER TABLE extension ADD music text;

CREATE TABLE announcement (
    tenant_id  uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id         uuid NOT NULL,
    number     text NOT NULL CHECK (number ~ '^[0-9]{1,32}$'),
    sound      text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

ALTER TABLE dialled_name
    ADD announcement_id uuid,
    ADD FOREIGN KEY (tenant_id, announcement_id) REFERENCES announcement ON DELETE CASCADE,
    DROP CONSTRAINT dialled_name_one_place,
    ADD CONSTRAINT dialled_name_one_place
        CHECK (num_nonnulls(extension_id, ring_group_id, announcement_id) = 1);
CREATE INDEX ON dialled_name (tenant_id, announcement_id);

CREATE FUNCTION keep_announcement_names() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM dialled_name d USING old_rows o
        WHERE d.tenant_id = o.tenant_id AND d.announcement_id = o.id;
    END IF;
    INSERT INTO dialled_name (tenant_id, name, announcement_id)
    SELECT tenant_id, number, id FROM new_rows;
    RETURN NULL;
END $$;
CREATE TRIGGER names_insert AFTER INSERT ON announcement REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_announcement_names();
CREATE TRIGGER names_update AFTER UPDATE ON announcement
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_announcement_names();

CALL guard('announcement');
CALL open_to('announcement', 'tenantd_node', 'SELECT');
CALL watch('announcement', 'published');
GRANT SELECT, INSERT, UPDATE, DELETE ON announcement TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON announcement TO tenantd_node;
