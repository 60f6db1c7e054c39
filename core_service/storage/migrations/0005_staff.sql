-- A merchant's people and their sessions; the callback secret that still signs while a new one takes over; what became
-- of signed requests.

CREATE TABLE staff (
    merchant_id text NOT NULL REFERENCES merchants (id),
    id text NOT NULL,
    -- Unique across merchants, as merchants.code is: somebody who signs in names nothing else.
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('OWNER', 'OPERATIONS', 'DEVELOPER', 'VIEWER')),
    password_hash text NOT NULL,
    -- The password was chosen by somebody else: nothing but changing it is allowed.
    must_change_password boolean NOT NULL,
    enabled boolean NOT NULL,
    last_sign_in_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

CREATE TABLE staff_sessions (
    token_hash bytea PRIMARY KEY,
    merchant_id text NOT NULL,
    staff_id text NOT NULL,
    client_address text,
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, staff_id) REFERENCES staff (merchant_id, id)
);
CREATE INDEX staff_sessions_staff ON staff_sessions (merchant_id, staff_id);
CREATE INDEX staff_sessions_expiry ON staff_sessions (expires_at);

ALTER TABLE merchants ADD COLUMN previous_notify_secret_sealed bytea;
ALTER TABLE merchants ADD COLUMN previous_notify_secret_until timestamptz;
ALTER TABLE merchants ADD CHECK ((previous_notify_secret_sealed IS NULL) = (previous_notify_secret_until IS NULL));
-- When callback_base, as it is, first answered a test event with a 2xx.
ALTER TABLE merchants ADD COLUMN callback_confirmed_at timestamptz;

-- Signed requests of the last days, written in batches behind the answers; nothing depends on them.
CREATE TABLE signed_requests (
    merchant_id text NOT NULL,
    id text NOT NULL,
    at timestamptz NOT NULL,
    -- The RPC, such as CreatePaymentOrder.
    operation text NOT NULL,
    -- OK, or the reason of the refusal.
    outcome text NOT NULL,
    -- What was wrong, in a sentence.
    detail text,
    key_id text NOT NULL,
    client_address text,
    request_id text NOT NULL,
    duration_ms integer NOT NULL,
    PRIMARY KEY (merchant_id, id)
);
CREATE INDEX signed_requests_age ON signed_requests (at);
