-- Tenants, who may see what of them, and what is written down when something changes.

-- Whose rows the current transaction may see; unset: nobody's.
CREATE FUNCTION current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('tenantd.tenant', true), '')::uuid;

-- The provider is a tenant too.
CREATE FUNCTION house() RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '00000000-0000-7000-8000-000000000001'::uuid;

-- A UUIDv7 (RFC 9562 §5.7) for rows that triggers write; all others bring theirs.
CREATE FUNCTION uuid7() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;

-- Row-level security for a table with tenants' rows: a tenant sees its own, and so does the
-- provider once it has entered that tenant. Everything else needs a policy of its own.
CREATE PROCEDURE guard(what regclass)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', what);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', what);
    EXECUTE format('CREATE POLICY tenant ON %s TO tenantd_tenant, tenantd_provider
                    USING (tenant_id = (SELECT current_tenant()))', what);
END $$;

-- A policy that lets a role reach every tenant's rows of a table, for the named command.
CREATE PROCEDURE open_to(what regclass, reader name, command text)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE POLICY %I ON %s FOR %s TO %I %s %s', reader || '_' || lower(command),
        what, command, reader,
        CASE WHEN command <> 'INSERT' THEN 'USING (true)' END,
        CASE WHEN command IN ('INSERT', 'UPDATE', 'ALL') THEN 'WITH CHECK (true)' END);
END $$;

CREATE TABLE tenant (
    id          uuid        PRIMARY KEY,
    -- Raised once by each transaction that changes the tenant's configuration.
    version     bigint      NOT NULL DEFAULT 1,
    changed_in  xid8        NOT NULL DEFAULT pg_current_xact_id(),
    -- A random number that stands for the tenant in tags and branches.
    route       bigint      NOT NULL,
    label       text,
    name        text        NOT NULL,
    country     text,
    time_zone   text        NOT NULL DEFAULT 'UTC',
    max_calls   integer     CHECK (max_calls > 0),
    max_call_s  integer     CHECK (max_call_s > 0),
    trusted     cidr[]      NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_route UNIQUE (route),
    CONSTRAINT tenant_label UNIQUE (label) DEFERRABLE INITIALLY DEFERRED
);

ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenant FOR SELECT TO tenantd_tenant USING (id = (SELECT current_tenant()));
CREATE POLICY tenant_update ON tenant FOR UPDATE TO tenantd_tenant
    USING (id = (SELECT current_tenant()));
CALL open_to('tenant', 'tenantd_node', 'SELECT');
CALL open_to('tenant', 'tenantd_provider', 'SELECT');
CALL open_to('tenant', 'tenantd_provider', 'INSERT');
CALL open_to('tenant', 'tenantd_provider', 'UPDATE');
CREATE POLICY tenantd_provider_delete ON tenant FOR DELETE TO tenantd_provider
    USING (id <> house());
-- Only for the triggers below.
CALL open_to('tenant', 'tenantd_owner', 'SELECT');
CALL open_to('tenant', 'tenantd_owner', 'UPDATE');
GRANT SELECT, UPDATE (name, country, time_zone) ON tenant TO tenantd_tenant;
GRANT SELECT ON tenant TO tenantd_node;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant TO tenantd_provider;

CREATE TABLE audit (
    tenant_id  uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id         uuid        NOT NULL DEFAULT uuid7(),
    at         timestamptz NOT NULL DEFAULT now(),
    who        text        NOT NULL,
    -- The table, and what happened to its row.
    what       text        NOT NULL,
    did        text        NOT NULL CHECK (did IN ('added', 'changed', 'removed')),
    before     jsonb,
    after      jsonb,
    PRIMARY KEY (tenant_id, id)
);

CALL guard('audit');
CALL open_to('audit', 'tenantd_owner', 'INSERT');
CALL open_to('audit', 'tenantd_owner', 'SELECT');
GRANT SELECT ON audit TO tenantd_tenant, tenantd_provider;

-- A row as history may show it: a secret is only said to be there, or to be another one.
CREATE FUNCTION without_secrets(shown jsonb, other jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT jsonb_object_agg(key, CASE
            WHEN key NOT IN ('password_sealed', 'password_hash') OR value = 'null' THEN value
            WHEN other -> key IS DISTINCT FROM value THEN '"another secret"'
            ELSE '"a secret"' END)
        FROM jsonb_each(shown)
        WHERE key NOT IN ('version', 'changed_in', 'password_key')
    );

-- Writes the audit rows of one statement and, for what switches must know (the argument says
-- 'published'), raises each touched tenant's version once a transaction and tells the feed.
CREATE FUNCTION note_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    author  text := coalesce(nullif(current_setting('tenantd.who', true), ''), session_user);
    touched uuid[];
    told    record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        WITH noted AS (
            INSERT INTO audit (tenant_id, who, what, did, after)
            SELECT coalesce(came ->> 'tenant_id', came ->> 'id')::uuid, author, TG_TABLE_NAME,
                   'added', without_secrets(came, NULL)
            FROM (SELECT to_jsonb(n) AS came FROM new_rows n) AS added
            RETURNING tenant_id)
        SELECT array_agg(DISTINCT tenant_id) INTO touched FROM noted;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH noted AS (
            INSERT INTO audit (tenant_id, who, what, did, before, after)
            SELECT coalesce(came ->> 'tenant_id', came ->> 'id')::uuid, author, TG_TABLE_NAME,
                   'changed', without_secrets(went, came), without_secrets(came, went)
            FROM (SELECT to_jsonb(o) AS went, to_jsonb(n) AS came
                  FROM old_rows o JOIN new_rows n USING (id)) AS changed
            WHERE went - '{version,changed_in}'::text[] <> came - '{version,changed_in}'::text[]
            RETURNING tenant_id)
        SELECT array_agg(DISTINCT tenant_id) INTO touched FROM noted;
    ELSE
        -- A tenant's removal is the house's history; what went with it is not told row by row.
        WITH noted AS (
            INSERT INTO audit (tenant_id, who, what, did, before)
            SELECT coalesce((went ->> 'tenant_id')::uuid, house()), author, TG_TABLE_NAME,
                   'removed', without_secrets(went, NULL)
            FROM (SELECT to_jsonb(o) AS went FROM old_rows o) AS removed
            WHERE TG_TABLE_NAME = 'tenant'
               OR EXISTS (SELECT FROM tenant t WHERE t.id = (went ->> 'tenant_id')::uuid)
            RETURNING tenant_id)
        SELECT array_agg(DISTINCT tenant_id) INTO touched FROM noted;
    END IF;

    IF TG_ARGV[0] = 'published' AND TG_TABLE_NAME = 'tenant' AND TG_OP = 'INSERT' THEN
        PERFORM pg_notify('tenant', id || ':' || version) FROM new_rows;
    ELSIF TG_ARGV[0] = 'published' AND TG_TABLE_NAME = 'tenant' AND TG_OP = 'DELETE' THEN
        PERFORM pg_notify('tenant', id || ':0') FROM old_rows;
    ELSIF TG_ARGV[0] = 'published' AND touched IS NOT NULL THEN
        FOR told IN
            UPDATE tenant SET version = version + 1, changed_in = pg_current_xact_id()
            WHERE id = ANY (touched) AND changed_in <> pg_current_xact_id()
            RETURNING id, version
        LOOP
            PERFORM pg_notify('tenant', told.id || ':' || told.version);
        END LOOP;
    END IF;
    RETURN NULL;
END $$;

-- Puts `note_change` on a table: 'published' for what switches must know, else 'kept'.
CREATE PROCEDURE watch(what regclass, kind text)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER note_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION note_change(%L)', what, kind);
    EXECUTE format('CREATE TRIGGER note_update AFTER UPDATE ON %s
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION note_change(%L)', what, kind);
    EXECUTE format('CREATE TRIGGER note_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION note_change(%L)', what, kind);
END $$;

CALL watch('tenant', 'published');

-- Every SIP domain of every tenant: canonical ones and aliases share one namespace.
CREATE TABLE domain (
    tenant_id  uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (name = lower(name)),
    kind       text NOT NULL CHECK (kind IN ('canonical', 'alias')),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT domain_name UNIQUE (name) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT domain_canonical
        EXCLUDE USING btree (tenant_id WITH =) WHERE (kind = 'canonical')
        DEFERRABLE INITIALLY DEFERRED
);

CALL guard('domain');
CALL open_to('domain', 'tenantd_node', 'SELECT');
CALL open_to('domain', 'tenantd_provider', 'ALL');
CALL watch('domain', 'published');
GRANT SELECT ON domain TO tenantd_tenant, tenantd_node;
GRANT SELECT, INSERT, UPDATE, DELETE ON domain TO tenantd_provider;

-- Settings by scope: the house's row with node '*' is for all, with a node for that node; a
-- tenant's row is for that tenant. The narrowest one counts.
CREATE TABLE setting (
    tenant_id  uuid  NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id         uuid  NOT NULL,
    node       text  NOT NULL DEFAULT '*',
    key        text  NOT NULL,
    value      jsonb NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT setting_key UNIQUE (tenant_id, node, key)
);

CALL guard('setting');
CALL open_to('setting', 'tenantd_node', 'SELECT');
CALL watch('setting', 'published');
GRANT SELECT, INSERT, UPDATE, DELETE ON setting TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON setting TO tenantd_node;

-- The house, before anybody else. Its route is random as every tenant's.
ALTER TABLE tenant NO FORCE ROW LEVEL SECURITY;
INSERT INTO tenant (id, route, name)
SELECT house(), ('x' || substr(replace(gen_random_uuid()::text, '-', ''), 17))::bit(64)::bigint,
       'House';
ALTER TABLE tenant FORCE ROW LEVEL SECURITY;
