-- What operators look at: lists and searches, the state of one order, the overview, and going through the books.
--
-- No index here is touched by the creation of an order. Lists go along ids, which sort by time; an index of its own has
-- only what is rare (failed, late, undelivered) and what comes with a payment or a refund.

-- What the provider said when it was last asked; not part of the history, which has only what changed.
ALTER TABLE payment_orders
    ADD COLUMN asked_at timestamptz,
    ADD COLUMN ask_answer text,
    ADD COLUMN ask_failure text;
CREATE INDEX payment_orders_failed ON payment_orders (id) WHERE status = 'FAILED';
CREATE INDEX payment_orders_late ON payment_orders (id) WHERE late;

CREATE INDEX received_payments_gateway ON received_payments (gateway_order_id);
CREATE INDEX refunds_id ON refunds (id);
CREATE INDEX refunds_failed ON refunds (id) WHERE status = 'FAILED';
CREATE INDEX refunds_provider ON refunds (provider_refund_id) WHERE provider_refund_id IS NOT NULL;
CREATE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_undelivered ON deliveries (id) WHERE status IN ('PENDING', 'PROCESSING');
CREATE INDEX deliveries_failed ON deliveries (id) WHERE status = 'FAILED';

ALTER TABLE anomalies
    ADD COLUMN resolved_by text,
    ADD COLUMN note text,
    ADD CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    ADD CHECK ((resolved_at IS NULL) = (note IS NULL));
CREATE INDEX anomalies_id ON anomalies (id);
CREATE INDEX anomalies_open ON anomalies (id) WHERE resolved_at IS NULL;
CREATE INDEX anomalies_order ON anomalies (merchant_id, order_id);

CREATE FUNCTION guard_anomaly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.resolved_at IS NOT NULL THEN
        RAISE EXCEPTION 'an anomaly is put away once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON anomalies FOR EACH ROW EXECUTE FUNCTION guard_anomaly();
CREATE TRIGGER keep BEFORE DELETE ON anomalies FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Orders by the hour in which they were created, refunds by theirs. Counted again and again by a worker: never added to.
CREATE TABLE order_hours (
    merchant_id text NOT NULL,
    account_id text NOT NULL,
    hour timestamptz NOT NULL,
    channel_code text NOT NULL,
    created bigint NOT NULL,
    paid bigint NOT NULL,
    ended_unpaid bigint NOT NULL,
    paid_fen bigint NOT NULL,
    -- Payments that were known first from the provider's notification; the others by asking.
    seen_by_notification bigint NOT NULL,
    refunds bigint NOT NULL,
    refund_fen bigint NOT NULL,
    PRIMARY KEY (merchant_id, account_id, hour)
);
CREATE INDEX order_hours_hour ON order_hours (hour);

-- How far a job of the workers has got. Whoever holds the lease works on it.
CREATE TABLE job_progress (
    job text PRIMARY KEY,
    position text NOT NULL,
    lease_until timestamptz,
    updated_at timestamptz NOT NULL
);

-- What a finished pass through the books found.
CREATE TABLE books_reports (
    id text PRIMARY KEY,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    orders bigint NOT NULL,
    -- JSON: the rows that break each check.
    violations text NOT NULL
);
