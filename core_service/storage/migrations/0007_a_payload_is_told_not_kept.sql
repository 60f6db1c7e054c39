-- What the provider gave a merchant's page follows from payment_mode and checkout_url. Kept beside the link it came
-- from, it made an order too large for a row: PostgreSQL put a part of each into a table of its own.

ALTER TABLE payment_orders DROP COLUMN provider_payload;
