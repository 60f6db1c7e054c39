-- What payers see of a merchant: its logo, and how long the result page shows success.

ALTER TABLE merchants
    ADD COLUMN return_delay_seconds integer NOT NULL DEFAULT 5 CHECK (return_delay_seconds BETWEEN 0 AND 60),
    -- Of the row in merchant_logos; null: no logo.
    ADD COLUMN logo_etag text;

CREATE TABLE merchant_logos (
    merchant_id text PRIMARY KEY REFERENCES merchants (id),
    content_type text NOT NULL CHECK (content_type IN ('image/png', 'image/jpeg', 'image/webp')),
    content bytea NOT NULL CHECK (octet_length(content) <= 24576),
    etag text NOT NULL
);

-- What the doctor found out about each account last, and when it looks again.

CREATE TABLE channel_account_checks (
    merchant_id text NOT NULL,
    account_id text NOT NULL,
    -- Goes up with every change of the account's configuration: a result counts only for the one that was looked at.
    generation bigint NOT NULL DEFAULT 1,
    -- The worst finding; null: not looked at since the configuration changed.
    status text CHECK (status IN ('OK', 'WARNING', 'ERROR')),
    -- JSON list of findings.
    findings text NOT NULL DEFAULT '[]',
    checked_at timestamptz,
    -- Since when the status is what it is.
    status_since timestamptz,
    -- When the worker looks again; whoever takes it moves it on, so it is a lease as well.
    check_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, account_id),
    FOREIGN KEY (merchant_id, account_id) REFERENCES channel_accounts (merchant_id, id)
);
CREATE INDEX channel_account_checks_due ON channel_account_checks (check_at);
CREATE INDEX channel_account_checks_trouble ON channel_account_checks (status_since DESC, account_id DESC)
    WHERE status IN ('WARNING', 'ERROR');

-- Spread over a day, so that they do not all call out at once.
INSERT INTO channel_account_checks (merchant_id, account_id, check_at)
SELECT merchant_id, id, now() + random() * interval '1 day' FROM channel_accounts;
