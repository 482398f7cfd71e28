-- People who sign in: they belong to the house, and are members of tenants.

CREATE TABLE account (
    tenant_id      uuid        NOT NULL DEFAULT house() REFERENCES tenant
                               CHECK (tenant_id = house()),
    id             uuid        NOT NULL,
    email          text        NOT NULL CHECK (email = lower(email)),
    -- Argon2id, in its own text form with its parameters.
    password_hash  text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT account_id UNIQUE (id),
    CONSTRAINT account_email UNIQUE (email)
);

CREATE TABLE membership (
    tenant_id   uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id          uuid NOT NULL,
    account_id  uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- A provider is a member of the house.
    role        text NOT NULL CHECK (role IN ('provider', 'admin')),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT membership_once UNIQUE (tenant_id, account_id),
    CONSTRAINT membership_house CHECK ((role = 'provider') = (tenant_id = house()))
);
CREATE INDEX ON membership (account_id);

-- A browser that signed in; the token itself is only in its cookie.
CREATE TABLE session (
    account_id  uuid        NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    token_hash  bytea       PRIMARY KEY,
    opened_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX ON session (account_id, opened_at);
CREATE INDEX ON session (expires_at);

CALL guard('account');
CALL guard('membership');
ALTER TABLE session ENABLE ROW LEVEL SECURITY;
ALTER TABLE session FORCE ROW LEVEL SECURITY;
CALL open_to('account', 'tenantd_provider', 'ALL');
CALL open_to('membership', 'tenantd_provider', 'ALL');
CALL open_to('session', 'tenantd_provider', 'ALL');
CALL watch('account', 'kept');
CALL watch('membership', 'kept');

GRANT SELECT, INSERT, UPDATE, DELETE ON account, membership, session TO tenantd_provider;
GRANT SELECT ON membership TO tenantd_tenant;
