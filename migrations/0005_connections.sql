-- Phones on connections, and nodes that lend each other their sockets.

-- A node's number is in the paths of its phones, so it stays even when the node is gone for long.
CREATE TABLE node_number (
    name    text     PRIMARY KEY,
    number  integer  NOT NULL GENERATED ALWAYS AS IDENTITY (MAXVALUE 65535) UNIQUE
);
GRANT SELECT, INSERT, UPDATE ON node_number TO tenantd_node;
GRANT SELECT ON node_number TO tenantd_provider;

ALTER TABLE binding
    -- Whose socket it is.
    ADD node_number integer NOT NULL DEFAULT 0,
    -- A connection lives as long as this process of the node; null for datagrams.
    ADD boot        bigint,
    ADD connection  bigint;
