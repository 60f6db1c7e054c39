-- Who asks a provider holds the row until then, however soon somebody wants it asked about next.

ALTER TABLE payment_orders ADD COLUMN ask_leased_until timestamptz;
ALTER TABLE refunds ADD COLUMN ask_leased_until timestamptz;
