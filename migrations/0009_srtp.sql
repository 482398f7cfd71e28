-- How much encryption of sound a company wants, and an extension, where it differs; and whether keys
-- are taken that come over signalling which others can read.
ALTER TABLE tenant
    ADD srtp text NOT NULL DEFAULT 'optional' CHECK (srtp IN ('off', 'optional', 'required')),
    ADD sdes_over_plain boolean NOT NULL DEFAULT false;
ALTER TABLE extension ADD srtp text CHECK (srtp IN ('off', 'optional', 'required'));
