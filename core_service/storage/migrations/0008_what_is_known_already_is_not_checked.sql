-- An account belongs to a merchant, so an order whose account is there has its merchant too.
ALTER TABLE payment_orders DROP CONSTRAINT payment_orders_merchant_id_fkey;

-- What is told of an order is found by its subject: the order itself, or one of its refunds.
DROP INDEX deliveries_order;

-- A journal's lines come in one statement, so that is where they are summed, and not after each line.
DROP TRIGGER balanced ON journal_lines;
DROP FUNCTION guard_journal_balance();
CREATE FUNCTION guard_journal_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced text;
BEGIN
    SELECT journal_id INTO unbalanced FROM added
    GROUP BY merchant_id, journal_id HAVING sum(amount_fen) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % does not sum to zero', unbalanced USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER balanced AFTER INSERT ON journal_lines
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_journal_balance();
