-- The transaction of a create as the core makes it, with literals of the usual sizes.
\set order random(1, 9000000000000000000)
BEGIN;
WITH merchant AS (
    SELECT version FROM merchants WHERE id = '{merchant}'
), spent AS (
    INSERT INTO nonces AS n (merchant_id, nonce, expires_at)
    SELECT '{merchant}', 'n' || :order::text, now() + interval '5 minutes' FROM merchant WHERE version > 0
    ON CONFLICT (merchant_id, nonce) DO UPDATE SET expires_at = EXCLUDED.expires_at WHERE n.expires_at < now()
    RETURNING 1
) SELECT EXISTS (SELECT 1 FROM spent), EXISTS (SELECT 1 FROM merchant WHERE version > 0);
END;
