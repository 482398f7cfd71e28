-- Several nodes: each says until when it can be counted on, and where its peers reach it.
--
-- A tenant's home is the node that its lease names, as long as that node itself is alive. So one
-- row a node is renewed, not one a tenant. Leases are taken without an end of their own; a node of
-- the release before takes them with one, and leaves those without one alone.

ALTER TABLE node
    -- Null: a node of the release before, which says only when it was seen.
    ADD until_at timestamptz,
    -- Null: it has no peers.
    ADD link     text;
