-- Thousands of extensions at once.

-- A key that begins with the company looks as good as the primary key to a planner that knows nothing
-- yet of a table that is being filled; then each name that is written reads all extensions of its
-- company, to find the one that it belongs to. Begun with the name, it cannot be taken for that.
ALTER TABLE extension
    DROP CONSTRAINT extension_credential,
    ADD CONSTRAINT extension_credential
        UNIQUE (credential, tenant_id) DEFERRABLE INITIALLY DEFERRED;
