-- A registration that comes and goes costs one small write each time.
--
-- One that ends stays as an empty row for a while, so that a replayed journal does not bring it
-- back: that is a change within its page, where a removed row and a note of it elsewhere were two
-- rows and four places in indexes. For the release before, such a row is one whose horizon is past.

ALTER TABLE binding
    -- When it ended; null while it is a registration.
    ADD gone_at timestamptz;

-- No index on what changes, and room in each page: then a change touches no index at all. What is
-- past its horizon is looked for once an hour, in the whole table.
DROP INDEX binding_horizon_at_idx;
ALTER TABLE binding SET (fillfactor = 60);

-- No key is checked row by row, and no index kept for it: what is written names an extension that is
-- there (see `write_bindings`), and what is registered goes with its extension. Where both happen at
-- once a row can be left over: the switch ends it when it hears that the extension is gone, and the
-- hourly look removes the rest.
ALTER TABLE binding DROP CONSTRAINT binding_tenant_id_fkey;
ALTER TABLE binding DROP CONSTRAINT binding_tenant_id_extension_id_fkey;
DROP INDEX binding_tenant_id_extension_id_idx;
CALL open_to('binding', 'tenantd_owner', 'DELETE');
CREATE FUNCTION drop_bindings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM binding b USING old_rows o
    WHERE b.tenant_id = o.tenant_id AND b.extension_id = o.id;
    RETURN NULL;
END $$;
CREATE TRIGGER drop_bindings AFTER DELETE ON extension REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION drop_bindings();

-- What the writers of a node hold while they write, and whoever takes a tenant from it waits for.
CREATE FUNCTION writes_of(node text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashtextextended('writes of ' || node, 0);

-- The epochs of these tenants, which stay as they are until the transaction ends, as long as it is
-- `writer` who holds them. One lock for all of them; a lock on each lease would be a write each.
CREATE FUNCTION epochs_for(writer text, wanted uuid[]) RETURNS TABLE (tenant_id uuid, epoch bigint)
    LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock_shared(writes_of(writer));
    -- A statement of its own: it sees what was committed while the one above waited.
    RETURN QUERY SELECT l.tenant_id, l.epoch FROM lease l WHERE l.tenant_id = ANY (wanted);
END $$;

-- A group of registrations that came, moved or ended, in one question: being asked costs as much as
-- writing a few rows. It is all or nothing. Where the epoch of a tenant that is served (`served`,
-- `epochs`) is not the latest, nothing is written, and the answer names those tenants ('taken'), or
-- those without a lease ('unknown'). Else it names the rows whose extension is gone ('homeless').
CREATE FUNCTION write_bindings(
    writer text, served uuid[], epochs bigint[],
    over_tenants uuid[], over_ids uuid[], over_at timestamptz[],
    tenants uuid[], ids uuid[], extensions uuid[], contacts text[], instances text[],
    reg_ids bigint[], call_ids text[], cseqs bigint[], qs smallint[], listeners text[],
    sources text[], paths jsonb[], user_agents text[], expire_at timestamptz[],
    horizons_at timestamptz[], row_epochs bigint[], changed timestamptz[], node_numbers integer[],
    transports text[], boots bigint[], connections bigint[], algs text[])
    RETURNS TABLE (what text, of_tenant uuid, of_id uuid)
    LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ended bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(writes_of(writer));
    RETURN QUERY
        SELECT CASE WHEN l.epoch IS NULL THEN 'unknown' ELSE 'taken' END, s.tenant_id, NULL::uuid
        FROM unnest(served, epochs) AS s (tenant_id, epoch)
        LEFT JOIN lease l ON l.tenant_id = s.tenant_id
        WHERE l.epoch IS NULL OR l.epoch > s.epoch;
    IF FOUND THEN
        RETURN;
    END IF;

    IF cardinality(over_ids) > 0 THEN
        UPDATE binding SET gone_at = r.at, changed_at = r.at,
            expires_at = least(binding.expires_at, r.at),
            horizon_at = least(binding.horizon_at, r.at),
            contact = '', instance = NULL, call_id = '', listener = '', source = '', path = '[]',
            user_agent = '', alg = NULL
        FROM unnest(over_tenants, over_ids, over_at) AS r (tenant_id, id, at)
        WHERE binding.tenant_id = r.tenant_id AND binding.id = r.id AND binding.changed_at <= r.at;
        GET DIAGNOSTICS ended = ROW_COUNT;
        -- Hardly ever: what has no row is noted beside.
        IF ended < cardinality(over_ids) THEN
            INSERT INTO gone (tenant_id, id, at)
            SELECT r.tenant_id, r.id, r.at
            FROM unnest(over_tenants, over_ids, over_at) AS r (tenant_id, id, at)
            JOIN tenant t ON t.id = r.tenant_id
            LEFT JOIN binding b ON b.tenant_id = r.tenant_id AND b.id = r.id
            WHERE b.id IS NULL
            ORDER BY r.tenant_id, r.id
            ON CONFLICT (tenant_id, id) DO UPDATE SET at = greatest(gone.at, excluded.at);
        END IF;
    END IF;

    IF cardinality(ids) > 0 THEN
        -- A row that ended lives again only by what is newer than its end.
        RETURN QUERY
            WITH given AS MATERIALIZED (
                SELECT r.*, e.id IS NULL AS is_homeless
                FROM unnest(tenants, ids, extensions, contacts, instances, reg_ids, call_ids, cseqs,
                    qs, listeners, sources, paths, user_agents, expire_at, horizons_at, row_epochs,
                    changed, node_numbers, transports, boots, connections, algs)
                AS r (tenant_id, id, extension_id, contact, instance, reg_id, call_id, cseq, q,
                    listener, source, path, user_agent, expires_at, horizon_at, epoch, changed_at,
                    node_number, transport, boot, connection, alg)
                LEFT JOIN extension e ON e.tenant_id = r.tenant_id AND e.id = r.extension_id),
            stored AS (
                INSERT INTO binding (tenant_id, id, extension_id, contact, instance, reg_id, call_id,
                    cseq, q, node, node_number, transport, boot, connection, listener, source, path,
                    user_agent, expires_at, horizon_at, epoch, changed_at, alg)
                SELECT r.tenant_id, r.id, r.extension_id, r.contact, r.instance, r.reg_id,
                    r.call_id, r.cseq, r.q, writer, r.node_number, r.transport, r.boot,
                    r.connection, r.listener, r.source, r.path, r.user_agent, r.expires_at,
                    r.horizon_at, r.epoch, r.changed_at, r.alg
                FROM given r
                WHERE NOT r.is_homeless AND NOT EXISTS (SELECT FROM gone g
                    WHERE g.tenant_id = r.tenant_id AND g.id = r.id AND g.at >= r.changed_at)
                ORDER BY r.tenant_id, r.id
                ON CONFLICT (tenant_id, id) DO UPDATE SET
                    contact = excluded.contact, instance = excluded.instance,
                    reg_id = excluded.reg_id, call_id = excluded.call_id, cseq = excluded.cseq,
                    q = excluded.q, node = excluded.node, node_number = excluded.node_number,
                    transport = excluded.transport, boot = excluded.boot,
                    connection = excluded.connection, listener = excluded.listener,
                    source = excluded.source, path = excluded.path,
                    user_agent = excluded.user_agent, expires_at = excluded.expires_at,
                    horizon_at = excluded.horizon_at, epoch = excluded.epoch,
                    changed_at = excluded.changed_at, alg = excluded.alg, gone_at = NULL
                WHERE binding.epoch <= excluded.epoch AND (binding.changed_at < excluded.changed_at
                    OR binding.changed_at = excluded.changed_at AND binding.gone_at IS NULL))
            SELECT 'homeless', g.tenant_id, g.id FROM given g WHERE g.is_homeless;
    END IF;
END $$;

REVOKE ALL ON FUNCTION epochs_for, write_bindings FROM PUBLIC;
GRANT EXECUTE ON FUNCTION epochs_for, write_bindings TO tenantd_node;
