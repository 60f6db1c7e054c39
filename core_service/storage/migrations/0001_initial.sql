-- The ground: every table that money and access need, with the constraints that hold when the code above is wrong.
--
-- Ids are made by the application. Every unique key of merchant data begins with the merchant, so that merchants can
-- live on separate clusters. Money is bigint fen. Triggers only refuse; none has an effect of its own.

-- Merchants and what belongs to them -----------------------------------------------------------------------------

CREATE TABLE merchants (
    id text PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'SUSPENDED')),
    legal_name text,
    contact_name text,
    contact_email text,
    contact_phone text,
    company_registration_id text,
    onboarding_note text,
    review_note text,
    approved_at timestamptz,
    approved_by text,
    status_changed_at timestamptz,
    callback_base text,
    notify_secret_sealed bytea NOT NULL,
    notify_secret_mask text NOT NULL,
    api_ip_whitelist text,
    callback_enabled boolean NOT NULL DEFAULT true,
    refund_callback_enabled boolean NOT NULL DEFAULT true,
    -- Goes up with every change to the merchant, its credentials, accounts or bindings; caches compare it.
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX merchants_newest ON merchants (created_at DESC, id DESC);

CREATE TABLE credentials (
    merchant_id text NOT NULL REFERENCES merchants (id),
    key_id text NOT NULL,
    secret_sealed bytea NOT NULL,
    label text NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, key_id)
);
CREATE INDEX credentials_key ON credentials (key_id);

CREATE TABLE channel_accounts (
    merchant_id text NOT NULL REFERENCES merchants (id),
    id text NOT NULL,
    channel_code text NOT NULL,
    display_name text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    -- The whole configuration and the callback token, sealed; the masked copy is for display.
    config_sealed bytea NOT NULL,
    config_masked text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, id)
);
CREATE INDEX channel_accounts_id ON channel_accounts (id);

CREATE TABLE bindings (
    merchant_id text NOT NULL REFERENCES merchants (id),
    channel_code text NOT NULL,
    id text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    account_id text,
    min_amount_fen bigint CHECK (min_amount_fen > 0),
    max_amount_fen bigint CHECK (max_amount_fen > 0),
    fee_rate numeric(5, 4) NOT NULL DEFAULT 0 CHECK (fee_rate BETWEEN 0 AND 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, channel_code),
    FOREIGN KEY (merchant_id, account_id) REFERENCES channel_accounts (merchant_id, id)
);

CREATE TABLE nonces (
    merchant_id text NOT NULL,
    nonce text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, nonce)
);
CREATE INDEX nonces_expiry ON nonces (expires_at);

CREATE TABLE idempotency_keys (
    merchant_id text NOT NULL,
    operation text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    -- Goes up when a crashed first run is taken over; only the holder of the newest token may finish.
    token bigint NOT NULL DEFAULT 1,
    lease_until timestamptz NOT NULL,
    -- The order or refund that the first run made, known once it is committed: where a take-over continues.
    resource_id text,
    -- OK, or the reason of the stored refusal; null while running.
    outcome text,
    -- The answer's bytes: a response message, or a google.rpc.Status.
    response bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, operation, key),
    CHECK ((outcome IS NULL) = (response IS NULL))
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Orders and refunds -----------------------------------------------------------------------------------------------

CREATE TABLE payment_orders (
    merchant_id text NOT NULL REFERENCES merchants (id),
    -- Also the provider's out_trade_no.
    id text NOT NULL CHECK (id ~ '^[0-9A-Za-z_]{6,32}$'),
    external_order_id text NOT NULL,
    channel_code text NOT NULL,
    account_id text NOT NULL,
    amount_fen bigint NOT NULL CHECK (amount_fen BETWEEN 1 AND 10000000000),
    currency text NOT NULL CHECK (currency = 'CNY'),
    fee_rate numeric(5, 4) NOT NULL,
    fee_fen bigint NOT NULL CHECK (fee_fen BETWEEN 0 AND amount_fen),
    subject text NOT NULL,
    description text,
    return_url text,
    callback_url text,
    metadata text,
    status text NOT NULL CHECK (status IN ('PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    provider_status text,
    gateway_order_id text,
    payment_mode text,
    checkout_url text,
    provider_payload text,
    failure_code text,
    failure_message text,
    -- 0 until paid, then the amount; refunds are reserved against it.
    paid_amount_fen bigint NOT NULL DEFAULT 0 CHECK (paid_amount_fen IN (0, amount_fen)),
    refund_reserved_fen bigint NOT NULL DEFAULT 0,
    refunded_fen bigint NOT NULL DEFAULT 0,
    -- Money arrived after the order had been closed or had failed.
    late boolean NOT NULL DEFAULT false,
    expire_at timestamptz NOT NULL,
    paid_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When a worker asks the provider next; null: nothing to ask.
    ask_at timestamptz,
    ask_count integer NOT NULL DEFAULT 0,
    ask_token bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (merchant_id, external_order_id),
    FOREIGN KEY (merchant_id, account_id) REFERENCES channel_accounts (merchant_id, id),
    CHECK (0 <= refunded_fen AND refunded_fen <= refund_reserved_fen AND refund_reserved_fen <= paid_amount_fen),
    CHECK ((status = 'SUCCEEDED') = (paid_amount_fen > 0)),
    CHECK (status <> 'SUCCEEDED' OR paid_at IS NOT NULL)
);
CREATE INDEX payment_orders_id ON payment_orders (id);
CREATE INDEX payment_orders_ask ON payment_orders (ask_at) WHERE ask_at IS NOT NULL;

CREATE TABLE refunds (
    merchant_id text NOT NULL,
    -- Also the provider's out_refund_no (Alipay: out_request_no).
    id text NOT NULL CHECK (id ~ '^[0-9A-Za-z_]{6,64}$'),
    order_id text NOT NULL,
    external_refund_id text NOT NULL,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    fee_fen bigint NOT NULL CHECK (fee_fen BETWEEN 0 AND amount_fen),
    reason text,
    metadata text,
    status text NOT NULL CHECK (status IN ('PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED')),
    provider_status text,
    provider_refund_id text,
    failure_code text,
    failure_message text,
    refunded_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ask_at timestamptz,
    ask_count integer NOT NULL DEFAULT 0,
    ask_token bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (merchant_id, external_refund_id),
    FOREIGN KEY (merchant_id, order_id) REFERENCES payment_orders (merchant_id, id)
);
CREATE INDEX refunds_order ON refunds (merchant_id, order_id);
CREATE INDEX refunds_ask ON refunds (ask_at) WHERE ask_at IS NOT NULL;

-- What happened to an order or one of its refunds; only ever inserted.
CREATE TABLE payment_events (
    merchant_id text NOT NULL,
    order_id text NOT NULL,
    id text NOT NULL,
    refund_id text,
    at timestamptz NOT NULL,
    -- merchant, payer, provider, operator:<email>, service, worker:<name>
    actor text NOT NULL,
    -- Such as create, notification, query, close, expiry.
    cause text NOT NULL,
    before_status text,
    after_status text NOT NULL,
    detail text,
    request_id text,
    PRIMARY KEY (merchant_id, order_id, id)
);

-- Every payment that a provider proved. A second one on an order is kept as a duplicate.
CREATE TABLE received_payments (
    merchant_id text NOT NULL,
    order_id text NOT NULL,
    gateway_order_id text NOT NULL,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    paid_at timestamptz NOT NULL,
    duplicate boolean NOT NULL,
    first_seen_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, order_id, gateway_order_id),
    FOREIGN KEY (merchant_id, order_id) REFERENCES payment_orders (merchant_id, id)
);
CREATE UNIQUE INDEX received_payments_one_genuine ON received_payments (merchant_id, order_id) WHERE NOT duplicate;

-- What providers sent to a known account, believed or not.
CREATE TABLE provider_notifications (
    merchant_id text NOT NULL,
    id text NOT NULL,
    account_id text NOT NULL,
    provider_event_id text,
    order_id text,
    refund_id text,
    -- applied, nothing_new, or the reason of the rejection.
    outcome text NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, id)
);
CREATE INDEX provider_notifications_order ON provider_notifications (merchant_id, order_id);

-- Things that a person should look at.
CREATE TABLE anomalies (
    merchant_id text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('LATE_PAYMENT', 'DUPLICATE_PAYMENT', 'AMOUNT_MISMATCH', 'REFUND_STUCK')),
    order_id text NOT NULL,
    refund_id text,
    -- What makes it one and the same: a repeat of the same finding is not a second anomaly.
    fingerprint text NOT NULL,
    detail text,
    created_at timestamptz NOT NULL,
    resolved_at timestamptz,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (merchant_id, kind, fingerprint)
);

-- Books ------------------------------------------------------------------------------------------------------------

CREATE TABLE journals (
    merchant_id text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CAPTURE', 'REFUND', 'DUPLICATE')),
    -- What is booked, such as capture:po_…; books each thing once.
    source text NOT NULL,
    order_id text NOT NULL,
    refund_id text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (merchant_id, source)
);

CREATE TABLE journal_lines (
    merchant_id text NOT NULL,
    journal_id text NOT NULL,
    line integer NOT NULL,
    account text NOT NULL,
    amount_fen bigint NOT NULL CHECK (amount_fen <> 0),
    PRIMARY KEY (merchant_id, journal_id, line),
    FOREIGN KEY (merchant_id, journal_id) REFERENCES journals (merchant_id, id)
);

-- Merchant callbacks -----------------------------------------------------------------------------------------------

CREATE TABLE deliveries (
    merchant_id text NOT NULL,
    id text NOT NULL,
    order_id text NOT NULL,
    refund_id text,
    -- The order's id or the refund's: whose new status is told.
    subject_id text NOT NULL,
    event text NOT NULL,
    resulting_status text NOT NULL,
    body bytea NOT NULL,
    status text NOT NULL CHECK (status IN ('PENDING', 'PROCESSING', 'DELIVERED', 'FAILED')),
    due_at timestamptz NOT NULL,
    lease_until timestamptz,
    token bigint NOT NULL DEFAULT 0,
    -- Tries begun, and those of them whose end was never recorded.
    attempt_count integer NOT NULL DEFAULT 0,
    lost_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    delivered_at timestamptz,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (merchant_id, subject_id, resulting_status)
);
-- By merchant first: a claim steps from merchant to merchant, so that a long queue of one costs the others nothing.
CREATE INDEX deliveries_due ON deliveries (merchant_id, due_at) WHERE status IN ('PENDING', 'PROCESSING');
CREATE INDEX deliveries_leased ON deliveries (merchant_id) WHERE lease_until IS NOT NULL;
CREATE INDEX deliveries_order ON deliveries (merchant_id, order_id);

CREATE TABLE delivery_attempts (
    merchant_id text NOT NULL,
    delivery_id text NOT NULL,
    number integer NOT NULL,
    token bigint NOT NULL,
    url text,
    request_headers text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    -- delivered, failed or lost; null while open.
    outcome text CHECK (outcome IN ('delivered', 'failed', 'lost')),
    http_status integer,
    response_body bytea,
    error text,
    duration_ms integer,
    PRIMARY KEY (merchant_id, delivery_id, number),
    FOREIGN KEY (merchant_id, delivery_id) REFERENCES deliveries (merchant_id, id)
);

-- Operators, settings, audit ---------------------------------------------------------------------------------------

CREATE TABLE operators (
    id text PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('SUPER_ADMIN', 'OPS_ADMIN', 'FINANCE_ADMIN', 'VIEWER')),
    password_hash text NOT NULL,
    totp_sealed bytea,
    totp_last_step bigint NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE operator_sessions (
    token_hash bytea PRIMARY KEY,
    operator_id text NOT NULL REFERENCES operators (id),
    client_address text,
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Failed sign-ins by account and by source.
CREATE TABLE sign_in_failures (
    subject text PRIMARY KEY,
    failures integer NOT NULL,
    window_ends_at timestamptz NOT NULL
);

CREATE TABLE system_configs (
    key text PRIMARY KEY,
    value text NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL
);

CREATE TABLE audit_records (
    id text PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    before text,
    after text,
    client_address text,
    request_id text NOT NULL
);
CREATE INDEX audit_records_target ON audit_records (target, id);

-- Guards -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON payment_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON received_payments
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON journals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON journal_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_records
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_payment_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.id, NEW.external_order_id, NEW.channel_code, NEW.account_id, NEW.amount_fen, NEW.currency,
        NEW.fee_rate, NEW.fee_fen, NEW.created_at)
       IS DISTINCT FROM
       (OLD.merchant_id, OLD.id, OLD.external_order_id, OLD.channel_code, OLD.account_id, OLD.amount_fen, OLD.currency,
        OLD.fee_rate, OLD.fee_fen, OLD.created_at) THEN
        RAISE EXCEPTION 'what an order is about never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT (
        OLD.status = 'PENDING'
        OR (OLD.status = 'PROCESSING' AND NEW.status <> 'PENDING')
        OR (OLD.status IN ('FAILED', 'CANCELLED') AND NEW.status = 'SUCCEEDED')) THEN
        RAISE EXCEPTION 'an order cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON payment_orders FOR EACH ROW EXECUTE FUNCTION guard_payment_order();
CREATE TRIGGER keep BEFORE DELETE ON payment_orders FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.id, NEW.order_id, NEW.external_refund_id, NEW.amount_fen, NEW.fee_fen, NEW.created_at)
       IS DISTINCT FROM
       (OLD.merchant_id, OLD.id, OLD.order_id, OLD.external_refund_id, OLD.amount_fen, OLD.fee_fen, OLD.created_at) THEN
        RAISE EXCEPTION 'what a refund is about never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT (
        OLD.status = 'PENDING' OR (OLD.status = 'PROCESSING' AND NEW.status <> 'PENDING')) THEN
        RAISE EXCEPTION 'a refund cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION guard_refund();
CREATE TRIGGER keep BEFORE DELETE ON refunds FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.subject_id, NEW.event, NEW.resulting_status, NEW.body)
       IS DISTINCT FROM (OLD.subject_id, OLD.event, OLD.resulting_status, OLD.body)
       OR (OLD.status = 'DELIVERED' AND NEW.status <> 'DELIVERED') THEN
        RAISE EXCEPTION 'what a delivery tells never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION guard_delivery();

CREATE FUNCTION guard_delivery_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL THEN
        RAISE EXCEPTION 'an attempt is closed once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON delivery_attempts FOR EACH ROW EXECUTE FUNCTION guard_delivery_attempt();
CREATE TRIGGER keep BEFORE DELETE ON delivery_attempts FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_journal_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(amount_fen), 0) FROM journal_lines
        WHERE merchant_id = NEW.merchant_id AND journal_id = NEW.journal_id) <> 0 THEN
        RAISE EXCEPTION 'journal % does not sum to zero', NEW.journal_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON journal_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_journal_balance();
