-- What switches remember: registrations, live calls, call records, who serves whom, and jobs.

CREATE TABLE node (
    name        text        PRIMARY KEY,
    -- Each process of a node has another one.
    boot        bigint      NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);

-- Which version of a tenant's configuration a node serves.
CREATE TABLE node_tenant (
    tenant_id  uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    node       text        NOT NULL REFERENCES node ON DELETE CASCADE,
    version    bigint      NOT NULL,
    taken_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node)
);
CREATE INDEX ON node_tenant (node);

-- A tenant's home. Taking it raises the epoch; writes of an older epoch are refused.
CREATE TABLE lease (
    tenant_id  uuid        PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    node       text        NOT NULL,
    epoch      bigint      NOT NULL,
    until_at   timestamptz NOT NULL
);
CREATE INDEX ON lease (node);

-- A registration (RFC 3261 §10, RFC 5626 §6).
CREATE TABLE binding (
    tenant_id     uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id            uuid        NOT NULL,
    extension_id  uuid        NOT NULL,
    contact       text        NOT NULL,
    instance      text,
    reg_id        bigint,
    call_id       text        NOT NULL,
    cseq          bigint      NOT NULL,
    q             smallint    NOT NULL,
    node          text        NOT NULL,
    transport     text        NOT NULL,
    -- Our address that the phone reached, and the phone's own, as the network showed it.
    listener      text        NOT NULL,
    source        text        NOT NULL,
    -- Path header values (RFC 3327).
    path          jsonb       NOT NULL,
    user_agent    text        NOT NULL,
    expires_at    timestamptz NOT NULL,
    -- Until when it is worth trying after a crash.
    horizon_at    timestamptz NOT NULL,
    epoch         bigint      NOT NULL,
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, extension_id) REFERENCES extension ON DELETE CASCADE
);
CREATE INDEX ON binding (tenant_id, extension_id);
CREATE INDEX ON binding (horizon_at);

-- The facts of a call under way, from which a restarted switch takes it up again.
CREATE TABLE live_call (
    tenant_id   uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id          uuid        NOT NULL,
    facts       bytea       NOT NULL,
    node        text        NOT NULL,
    epoch       bigint      NOT NULL,
    changed_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Registrations and calls that are over: a replayed journal must not bring them back.
CREATE TABLE gone (
    tenant_id  uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id         uuid        NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON gone (at);

-- How calls went. The extensions are only named: a record outlives them.
CREATE TABLE call (
    tenant_id    uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id           uuid        NOT NULL,
    began_at     timestamptz NOT NULL,
    rang_at      timestamptz,
    answered_at  timestamptz,
    ended_at     timestamptz NOT NULL,
    caller_id    uuid,
    caller       text        NOT NULL,
    caller_name  text        NOT NULL,
    dialled      text        NOT NULL,
    ending       text        NOT NULL,
    status       smallint    NOT NULL,
    legs         jsonb       NOT NULL,
    story        jsonb       NOT NULL,
    node         text        NOT NULL,
    PRIMARY KEY (tenant_id, id, began_at)
) PARTITION BY RANGE (began_at);
CREATE INDEX ON call (tenant_id, began_at DESC, id DESC);

-- For calls of months that nobody prepared; nothing is ever refused for want of a partition.
CREATE TABLE call_default PARTITION OF call DEFAULT;

-- Prepares the partitions of this month and the next ones. Calls that had to go to the default
-- partition meanwhile move over. A definer: only an owner may create partitions.
CREATE FUNCTION prepare_call_months(ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET timezone = 'UTC' AS $$
DECLARE
    begins timestamptz := date_trunc('month', now());
    ends   timestamptz;
    name   text;
    made   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('prepare_call_months'));
    FOR month IN 0 .. least(ahead, 24) LOOP
        ends := begins + interval '1 month';
        name := 'call_' || to_char(begins, 'YYYY_MM');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE call INCLUDING DEFAULTS)', name);
            ALTER TABLE call_default NO FORCE ROW LEVEL SECURITY;
            EXECUTE format('WITH moved AS (DELETE FROM call_default
                                WHERE began_at >= %L AND began_at < %L RETURNING *)
                            INSERT INTO %I SELECT * FROM moved', begins, ends, name);
            ALTER TABLE call_default FORCE ROW LEVEL SECURITY;
            EXECUTE format('ALTER TABLE call ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                name, begins, ends);
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
            made := made + 1;
        END IF;
        begins := ends;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION prepare_call_months FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prepare_call_months TO tenantd_node;

-- Work that must be done once something is committed: mail, uploads, calls to other systems.
CREATE TABLE job (
    tenant_id      uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id             uuid        NOT NULL,
    kind           text        NOT NULL,
    payload        jsonb       NOT NULL,
    state          text        NOT NULL DEFAULT 'open'
                               CHECK (state IN ('open', 'done', 'given up')),
    due_at         timestamptz NOT NULL,
    tries          integer     NOT NULL DEFAULT 0,
    claimed_by     text,
    claimed_until  timestamptz,
    -- Each try: when, and what came of it.
    history        jsonb       NOT NULL DEFAULT '[]',
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON job (due_at) WHERE state = 'open';

CALL guard('node_tenant');
CALL guard('lease');
CALL guard('binding');
CALL guard('live_call');
CALL guard('gone');
CALL guard('call');
ALTER TABLE call_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE call_default FORCE ROW LEVEL SECURITY;
CALL guard('job');
CALL open_to('node_tenant', 'tenantd_node', 'ALL');
CALL open_to('node_tenant', 'tenantd_provider', 'SELECT');
CALL open_to('lease', 'tenantd_node', 'ALL');
CALL open_to('lease', 'tenantd_provider', 'SELECT');
CALL open_to('binding', 'tenantd_node', 'ALL');
CALL open_to('live_call', 'tenantd_node', 'ALL');
CALL open_to('gone', 'tenantd_node', 'ALL');
CALL open_to('call', 'tenantd_node', 'SELECT');
CALL open_to('call', 'tenantd_node', 'INSERT');
CALL open_to('job', 'tenantd_node', 'ALL');

GRANT SELECT, INSERT, UPDATE, DELETE
    ON node, node_tenant, lease, binding, live_call, gone, job TO tenantd_node;
GRANT SELECT, INSERT ON call TO tenantd_node;
GRANT SELECT ON binding, call, job TO tenantd_tenant, tenantd_provider;
GRANT INSERT ON job TO tenantd_tenant, tenantd_provider;
GRANT SELECT ON node, node_tenant, lease TO tenantd_provider;

-- How large and how busy each tenant is, for the provider: counts, never what is counted.
CALL open_to('extension', 'tenantd_owner', 'SELECT');
CALL open_to('binding', 'tenantd_owner', 'SELECT');
CALL open_to('call', 'tenantd_owner', 'SELECT');
CREATE FUNCTION tenant_sizes()
    RETURNS TABLE (tenant_id uuid, extensions bigint, numbers bigint, phones bigint, calls bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.id,
        (SELECT count(*) FROM extension e WHERE e.tenant_id = t.id),
        (SELECT count(*) FROM number n WHERE n.tenant_id = t.id),
        (SELECT count(*) FROM binding b WHERE b.tenant_id = t.id AND b.expires_at > now()),
        (SELECT count(*) FROM call c
         WHERE c.tenant_id = t.id AND c.began_at > now() - interval '24 hours')
    FROM tenant t
    $$;
REVOKE ALL ON FUNCTION tenant_sizes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_sizes TO tenantd_provider;

SELECT prepare_call_months(2);
