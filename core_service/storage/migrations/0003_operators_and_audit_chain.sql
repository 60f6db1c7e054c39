-- Two-step sign-in of operators, passwords that somebody else chose, and an audit log in which each record vouches for
-- all before it.

ALTER TABLE operators
    -- A TOTP key that its owner has not confirmed yet.
    ADD COLUMN pending_totp_sealed bytea,
    -- The password was chosen by somebody else: nothing but changing it is allowed.
    ADD COLUMN must_change_password boolean NOT NULL DEFAULT false,
    ADD COLUMN last_sign_in_at timestamptz;

-- Each opens the account once in place of a one-time code.
CREATE TABLE operator_recovery_codes (
    operator_id text NOT NULL REFERENCES operators (id),
    code_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (operator_id, code_hash)
);

ALTER TABLE audit_records
    -- Why, in the words of whoever did it.
    ADD COLUMN reason text,
    ADD COLUMN sequence bigint,
    ADD COLUMN hash bytea;
CREATE INDEX audit_records_actor ON audit_records (actor, id);
CREATE INDEX audit_records_action ON audit_records (action, id);

-- The newest link. Whoever appends locks this row until the end of their transaction.
CREATE TABLE audit_chain (
    single boolean PRIMARY KEY CHECK (single),
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_chain (single, sequence, hash) VALUES (true, 0, sha256('novapay audit log'));

-- A field with its length in bytes before it, so that no two records read the same; a missing one is a dash.
CREATE FUNCTION audit_field(field text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(octet_length(convert_to(field, 'UTF8'))::text || ':' || field, '-')
$$;

-- domain/audit_chain.py computes the same.
CREATE FUNCTION audit_link(previous bytea, r audit_records) RETURNS bytea LANGUAGE sql AS $$
    SELECT sha256(previous || convert_to(
        audit_field(r.sequence::text) || audit_field(r.id)
        || audit_field(to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'))
        || audit_field(r.actor) || audit_field(r.action) || audit_field(r.target) || audit_field(r.before)
        || audit_field(r.after) || audit_field(r.reason) || audit_field(r.client_address) || audit_field(r.request_id),
        'UTF8'))
$$;

CREATE FUNCTION append_to_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    previous bytea;
BEGIN
    SELECT sequence + 1, hash INTO NEW.sequence, previous FROM audit_chain FOR UPDATE;
    NEW.hash := audit_link(previous, NEW);
    UPDATE audit_chain SET sequence = NEW.sequence, hash = NEW.hash;
    RETURN NEW;
END $$;

-- What was written before is chained in its order.
ALTER TABLE audit_records DISABLE TRIGGER append_only;
DO $$
DECLARE
    r audit_records;
    link audit_chain;
BEGIN
    SELECT * INTO link FROM audit_chain;
    FOR r IN SELECT * FROM audit_records ORDER BY at, id LOOP
        r.sequence := link.sequence + 1;
        link.sequence := r.sequence;
        link.hash := audit_link(link.hash, r);
        UPDATE audit_records SET sequence = r.sequence, hash = link.hash WHERE id = r.id;
    END LOOP;
    UPDATE audit_chain SET sequence = link.sequence, hash = link.hash;
END $$;
ALTER TABLE audit_records ENABLE TRIGGER append_only;

ALTER TABLE audit_records
    ALTER COLUMN sequence SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL,
    ADD UNIQUE (sequence);
CREATE TRIGGER chain BEFORE INSERT ON audit_records FOR EACH ROW EXECUTE FUNCTION append_to_audit_chain();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON audit_records FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
