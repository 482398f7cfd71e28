-- What is kept of calls' sound: who wants it, and what became of it.

ALTER TABLE tenant
    ADD record text NOT NULL DEFAULT 'off' CHECK (record IN ('off', 'always', 'on_demand')),
    -- What is pressed within a call to begin, to pause and to go on.
    ADD record_code text NOT NULL DEFAULT '*1' CHECK (record_code ~ '^[0-9*#A-D]{2,8}$'),
    -- For how many days a recording is kept; null: until somebody deletes it.
    ADD record_days integer CHECK (record_days > 0);
ALTER TABLE extension ADD record text CHECK (record IN ('off', 'always', 'on_demand'));

CREATE TABLE recording (
    tenant_id   uuid        NOT NULL REFERENCES tenant ON DELETE CASCADE,
    -- Its object's, too.
    id          uuid        NOT NULL,
    -- No foreign key: the call's own record may come later, and go earlier.
    call_id     uuid        NOT NULL,
    began_at    timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    -- Without its pauses.
    lasts_ms    bigint      NOT NULL CHECK (lasts_ms >= 0),
    -- The number of the extension that wanted it; empty: the company.
    asked_by    text        NOT NULL,
    sha256      bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    bytes       bigint      NOT NULL CHECK (bytes > 0),
    -- Packets that are missing because the disk was too slow.
    lost        bigint      NOT NULL DEFAULT 0,
    -- Nobody and no rule deletes it.
    held        boolean     NOT NULL DEFAULT false,
    -- When its time was over or somebody wanted it gone, and when its object was seen to be gone.
    doomed_at   timestamptz,
    deleted_at  timestamptz,
    PRIMARY KEY (tenant_id, id),
    CHECK (NOT held OR doomed_at IS NULL),
    CHECK (deleted_at IS NULL OR doomed_at IS NOT NULL)
);
CREATE INDEX ON recording (tenant_id, call_id);
CREATE INDEX ON recording (ended_at) WHERE doomed_at IS NULL;
CREATE INDEX ON recording (doomed_at) WHERE doomed_at IS NOT NULL AND deleted_at IS NULL;

CALL guard('recording');
CALL open_to('recording', 'tenantd_node', 'ALL');
CALL watch('recording', 'kept');
GRANT SELECT ON recording TO tenantd_tenant, tenantd_provider;
GRANT UPDATE (held, doomed_at) ON recording TO tenantd_tenant, tenantd_provider;
GRANT SELECT, INSERT, UPDATE ON recording TO tenantd_node;

-- Who listened. It is only ever added to.
CREATE TABLE recording_heard (
    tenant_id    uuid        NOT NULL,
    id           uuid        NOT NULL,
    recording_id uuid        NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    who          text        NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, recording_id) REFERENCES recording ON DELETE CASCADE
);
CREATE INDEX ON recording_heard (tenant_id, recording_id, at);
CALL guard('recording_heard');
CALL watch('recording_heard', 'kept');
GRANT SELECT, INSERT ON recording_heard TO tenantd_tenant, tenantd_provider;
