-- A tenant's directory: extensions, ring groups, public numbers, and the names that can be dialled.

CREATE TABLE extension (
    tenant_id        uuid     NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id               uuid     NOT NULL,
    number           text     NOT NULL CHECK (number ~ '^[0-9]{1,32}$'),
    username         text,
    auth_username    text,
    -- The digest user name.
    credential       text     NOT NULL
        GENERATED ALWAYS AS (coalesce(auth_username, username, number)) STORED,
    -- Sealed with the cluster key that `password_key` names.
    password_sealed  bytea    NOT NULL,
    password_key     integer  NOT NULL,
    name             text     NOT NULL DEFAULT '',
    email            text,
    voicemail        boolean  NOT NULL DEFAULT false,
    -- Which digests are offered, in order; absent: the tenant's.
    digest           text[],
    max_contacts     smallint NOT NULL DEFAULT 1 CHECK (max_contacts BETWEEN 1 AND 100),
    max_calls        integer  CHECK (max_calls > 0),
    max_call_s       integer  CHECK (max_call_s > 0),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT extension_credential
        UNIQUE (tenant_id, credential) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE ring_group (
    tenant_id  uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id         uuid NOT NULL,
    number     text NOT NULL CHECK (number ~ '^[0-9]{1,32}$'),
    name       text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE ring_group_member (
    tenant_id      uuid    NOT NULL,
    id             uuid    NOT NULL,
    ring_group_id  uuid    NOT NULL,
    extension_id   uuid    NOT NULL,
    position       integer NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, ring_group_id) REFERENCES ring_group ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, extension_id) REFERENCES extension ON DELETE CASCADE,
    CONSTRAINT ring_group_member_once
        UNIQUE (tenant_id, ring_group_id, extension_id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX ON ring_group_member (tenant_id, extension_id);

-- A public number rings at one place of one tenant.
CREATE TABLE number (
    tenant_id      uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id             uuid NOT NULL,
    number         text NOT NULL CHECK (number ~ '^\+[1-9][0-9]{1,14}$'),
    extension_id   uuid,
    ring_group_id  uuid,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, extension_id) REFERENCES extension ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, ring_group_id) REFERENCES ring_group ON DELETE CASCADE,
    CONSTRAINT number_number UNIQUE (number) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT number_one_place CHECK (num_nonnulls(extension_id, ring_group_id) = 1)
);
CREATE INDEX ON number (tenant_id, extension_id);
CREATE INDEX ON number (tenant_id, ring_group_id);

-- What can be dialled in a tenant, in one namespace; kept by triggers only.
CREATE TABLE dialled_name (
    tenant_id      uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    name           text NOT NULL,
    extension_id   uuid,
    ring_group_id  uuid,
    CONSTRAINT dialled_name_name PRIMARY KEY (tenant_id, name) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant_id, extension_id) REFERENCES extension ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, ring_group_id) REFERENCES ring_group ON DELETE CASCADE,
    CONSTRAINT dialled_name_one_place CHECK (num_nonnulls(extension_id, ring_group_id) = 1)
);
CREATE INDEX ON dialled_name (tenant_id, extension_id);
CREATE INDEX ON dialled_name (tenant_id, ring_group_id);

-- Definers: so that no other role needs to write `dialled_name`.
CREATE FUNCTION keep_extension_names() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM dialled_name d USING old_rows o
        WHERE d.tenant_id = o.tenant_id AND d.extension_id = o.id;
    END IF;
    INSERT INTO dialled_name (tenant_id, name, extension_id)
    SELECT tenant_id, number, id FROM new_rows
    UNION
    SELECT tenant_id, username, id FROM new_rows WHERE username IS NOT NULL;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_group_names() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM dialled_name d USING old_rows o
        WHERE d.tenant_id = o.tenant_id AND d.ring_group_id = o.id;
    END IF;
    INSERT INTO dialled_name (tenant_id, name, ring_group_id)
    SELECT tenant_id, number, id FROM new_rows;
    RETURN NULL;
END $$;

CREATE TRIGGER names_insert AFTER INSERT ON extension REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_extension_names();
CREATE TRIGGER names_update AFTER UPDATE ON extension
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_extension_names();
CREATE TRIGGER names_insert AFTER INSERT ON ring_group REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_group_names();
CREATE TRIGGER names_update AFTER UPDATE ON ring_group
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_group_names();

CALL guard('extension');
CALL guard('ring_group');
CALL guard('ring_group_member');
CALL guard('number');
CALL guard('dialled_name');
CALL open_to('extension', 'tenantd_node', 'SELECT');
CALL open_to('ring_group', 'tenantd_node', 'SELECT');
CALL open_to('ring_group_member', 'tenantd_node', 'SELECT');
CALL open_to('number', 'tenantd_node', 'SELECT');
CALL open_to('dialled_name', 'tenantd_node', 'SELECT');
CALL open_to('dialled_name', 'tenantd_owner', 'ALL');
CALL watch('extension', 'published');
CALL watch('ring_group', 'published');
CALL watch('ring_group_member', 'published');
CALL watch('number', 'published');

GRANT SELECT, INSERT, UPDATE, DELETE
    ON extension, ring_group, ring_group_member, number TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON dialled_name TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON extension, ring_group, ring_group_member, number, dialled_name TO tenantd_node;

-- Whose public numbers these are: asked by the provider, who hands numbers out, of all tenants.
CALL open_to('number', 'tenantd_owner', 'SELECT');
CREATE FUNCTION holders_of(wanted text[]) RETURNS TABLE (tenant_id uuid, number text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT n.tenant_id, n.number FROM number n WHERE n.number = ANY (wanted)';
REVOKE ALL ON FUNCTION holders_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION holders_of TO tenantd_provider;
