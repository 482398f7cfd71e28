-- Sounds that companies upload, and what is to be done in the object store.

ALTER TABLE tenant
    -- How many sounds it may have, and how many bytes of them; null: what `sound_limits` says.
    ADD max_sounds  integer CHECK (max_sounds >= 0),
    ADD sound_quota bigint  CHECK (sound_quota >= 0);

CREATE TABLE sound (
    tenant_id      uuid    NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id             uuid    NOT NULL,
    name           text    NOT NULL CHECK (char_length(name) BETWEEN 1 AND 128),
    -- Its key in the object store ends in this; what is played anew is another object.
    object_id      uuid    NOT NULL,
    -- SHA-256 of what was uploaded, and of what we made of it and keep.
    source_sha256  bytea   NOT NULL CHECK (octet_length(source_sha256) = 32),
    sha256         bytea   NOT NULL CHECK (octet_length(sha256) = 32),
    bytes          bigint  NOT NULL CHECK (bytes > 0),
    lasts_ms       integer NOT NULL CHECK (lasts_ms > 0),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT sound_object UNIQUE (tenant_id, object_id),
    CONSTRAINT sound_name UNIQUE (tenant_id, name) DEFERRABLE INITIALLY DEFERRED
);

-- What is to be done in the object store: put what waits in a node's outbox, or delete what nobody
-- needs any more. A row is there until it is done.
CREATE TABLE object_work (
    tenant_id  uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    -- The object's.
    id         uuid        NOT NULL,
    kind       text        NOT NULL,
    verb       text        NOT NULL CHECK (verb IN ('put', 'delete')),
    -- Whose outbox it waits in; null: nobody's.
    node       text,
    sha256     bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    bytes      bigint      NOT NULL CHECK (bytes >= 0),
    -- When it is tried; whoever tries it puts this off.
    due_at     timestamptz NOT NULL,
    tries      integer     NOT NULL DEFAULT 0,
    -- How the last try ended.
    came       text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON object_work (due_at);

CALL guard('sound');
CALL open_to('sound', 'tenantd_node', 'SELECT');
CALL watch('sound', 'published');
GRANT SELECT, INSERT, UPDATE, DELETE ON sound TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON sound TO tenantd_node;

CALL guard('object_work');
CALL open_to('object_work', 'tenantd_node', 'ALL');
GRANT SELECT, INSERT, UPDATE ON object_work TO tenantd_tenant, tenantd_provider;
GRANT SELECT, INSERT, UPDATE, DELETE ON object_work TO tenantd_node;

-- How many sounds and bytes a tenant may have.
CREATE FUNCTION sound_limits(whose uuid) RETURNS TABLE (sounds integer, bytes bigint)
    LANGUAGE sql STABLE
    AS 'SELECT coalesce(t.max_sounds, 500), coalesce(t.sound_quota, 536870912)
        FROM tenant t WHERE t.id = whose';

-- Seen at the end of a transaction, when the tenant's row is ours since `note_change` touched it: so
-- two that upload at the same time cannot both take the last room.
CREATE FUNCTION check_sound_limits() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM sound_limits(NEW.tenant_id) l,
            (SELECT count(*) AS sounds, sum(s.bytes) AS bytes FROM sound s
             WHERE s.tenant_id = NEW.tenant_id) AS used
        WHERE used.sounds > l.sounds OR used.bytes > l.bytes)
    THEN
        RAISE check_violation USING MESSAGE = 'no room for another sound',
            CONSTRAINT = 'sound_quota', TABLE = 'sound';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sound_quota AFTER INSERT OR UPDATE ON sound
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_sound_limits();
