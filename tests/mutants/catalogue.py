"""Defects that somebody could put in by accident, and which tests must notice each.

A mutant replaces one piece of text, which must be in its file exactly once: one that no longer applies is an error, so
that the list grows old together with the code.
"""

from dataclasses import dataclass

APPLICATION = "tests/core_service/application/"
PROVIDERS = "tests/core_service/providers/"
WORKERS = "tests/core_service/workers/"
EDGE = "tests/rest_edge/"
DOMAIN = "tests/core_service/domain/"


@dataclass(frozen=True)
class Mutant:
    """One seeded defect."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """What pytest is given; one of these tests must fail."""


MUTANTS = (
    Mutant(
        "the order is not locked before it changes",
        "core_service/storage/payment_orders.py",
        '"SELECT * FROM payment_orders WHERE merchant_id = %s AND id = %s FOR UPDATE"',
        '"SELECT * FROM payment_orders WHERE merchant_id = %s AND id = %s"',
        (f"{APPLICATION}test_races.py",),
    ),
    Mutant(
        "a notification is acknowledged before its effect is committed",
        "core_service/application/provider_notifications.py",
        "    try:\n        return _handle(call, provider, inbound, now)",
        "    try:\n        try:\n            return _handle(call, provider, inbound, now)\n"
        "        except CoreError as lost:\n            if lost.family is Family.UNAVAILABLE:\n"
        "                return provider.acknowledge()\n            raise",
        (f"{APPLICATION}test_database_faults.py",),
    ),
    Mutant(
        "a stale row is saved: the transition does not ask what the status is now",
        "core_service/storage/payment_orders.py",
        "AND id = %(id)s AND status = %(before)s\n    RETURNING 1",
        "AND id = %(id)s AND %(before)s IS NOT NULL\n    RETURNING 1",
        ("tests/core_service/storage/test_guards.py",),
    ),
    Mutant(
        "the state goes back when the create answer is stored",
        "core_service/storage/payment_orders.py",
        'checkout_url = %s, "\n    "updated_at = greatest(updated_at, %s) "',
        'checkout_url = %s, "\n    "updated_at = greatest(updated_at, %s), '
        "status = 'PENDING', paid_amount_fen = 0 \"",
        (f"{APPLICATION}test_create_order.py", f"{APPLICATION}test_races.py"),
    ),
    Mutant(
        "a hint sends a refund that is under way",
        "core_service/storage/refunds.py",
        "AND status = 'PROCESSING'\"",
        "AND status IN ('PENDING', 'PROCESSING')\"",
        (f"{APPLICATION}test_refund_senders.py",),
    ),
    Mutant(
        "one refusal of two sends gives a refund's amount back",
        "core_service/application/refunds.py",
        "    if is_sender and report.state",
        "    if not is_sender and report.state",
        (f"{APPLICATION}test_refund_senders.py",),
    ),
    Mutant(
        "a run that may still commit is forgotten",
        "core_service/application/effects.py",
        "        self.is_doubtful = True",
        "        self.is_doubtful = False",
        (f"{APPLICATION}test_database_faults.py",),
    ),
    Mutant(
        "an idempotency key is finished without its token",
        "core_service/storage/idempotency.py",
        'AND token = %s AND outcome IS NULL"\n)\n\n\ndef finish(',
        'AND token >= 0 * %s AND outcome IS NULL"\n)\n\n\ndef finish(',
        ("tests/core_service/storage/test_guards.py",),
    ),
    Mutant(
        "an attempt is recorded by whoever lost it",
        "core_service/storage/callbacks.py",
        "WHERE d.merchant_id = g.merchant_id AND d.id = g.id AND d.token = g.token\n"
        "          AND d.lease_until IS NOT NULL",
        "WHERE d.merchant_id = g.merchant_id AND d.id = g.id",
        (f"{WORKERS}test_callback_claims.py",),
    ),
    Mutant(
        "an amount is read as a float",
        "core_service/domain/money.py",
        '    fen = int(yuan) * 100 + int(decimals.ljust(2, "0"))',
        '    fen = int(float(f"{yuan}.{decimals or 0}") * 100)',
        (f"{DOMAIN}test_money.py",),
    ),
    Mutant(
        "amounts of more than two decimals are rounded",
        "core_service/domain/money.py",
        '_AMOUNT = re.compile(r"[0-9]+(?:\\.[0-9]{1,2})?", re.ASCII)',
        '_AMOUNT = re.compile(r"[0-9]+(?:\\.[0-9]{1,9})?", re.ASCII)',
        (f"{DOMAIN}test_money.py",),
    ),
    Mutant(
        "digits of any script count",
        "core_service/domain/money.py",
        '_AMOUNT = re.compile(r"[0-9]+(?:\\.[0-9]{1,2})?", re.ASCII)',
        '_AMOUNT = re.compile(r"\\d+(?:\\.\\d{1,2})?")',
        (f"{DOMAIN}test_money.py",),
    ),
    Mutant(
        "a fee is rounded down",
        "core_service/domain/money.py",
        "ROUND_HALF_UP))",
        '"ROUND_DOWN"))',
        (f"{DOMAIN}test_money.py",),
    ),
    Mutant(
        "the first entry of X-Forwarded-For is believed",
        "rest_edge/client_address.py",
        "        hop = _parse(hops.pop().strip())",
        "        hop = _parse(hops.pop(0).strip())",
        (f"{EDGE}test_middleware.py",),
    ),
    Mutant(
        "X-Forwarded-For is believed from anybody",
        "rest_edge/client_address.py",
        "    while hops and _is_trusted(address, trusted):",
        "    while hops:",
        (f"{EDGE}test_middleware.py",),
    ),
    Mutant(
        "a nonce is not spent",
        "core_service/storage/merchant_snapshots.py",
        "    WHERE n.expires_at < now()\n    RETURNING 1",
        "    RETURNING 1",
        (f"{APPLICATION}test_access.py",),
    ),
    Mutant(
        "a refused request's nonce may be used again",
        "core_service/application/effects.py",
        "            outcome = refusal",
        "            raise",
        (
            f"{APPLICATION}test_meeting_requests.py",
            f"{APPLICATION}test_access.py",
            f"{APPLICATION}test_idempotency.py",
            f"{APPLICATION}test_once_intended.py",
        ),
    ),
    Mutant(
        "the signature is not compared",
        "core_service/domain/signature.py",
        '    return hmac.compare_digest(digest, bytes.fromhex(signature.decode("ascii")))',
        "    return True",
        (f"{APPLICATION}test_access.py",),
    ),
    Mutant(
        "the signature covers less than the whole body",
        "core_service/domain/signature.py",
        '    return hmac.digest(secret, b".".join((timestamp, nonce, body)), "sha256")',
        '    return hmac.digest(secret, b".".join((timestamp, nonce, body.strip())), "sha256")',
        ("tests/core_service/domain/test_signature.py", f"{APPLICATION}test_access.py"),
    ),
    Mutant(
        "an expired or disabled key is accepted",
        "core_service/application/access.py",
        "    if snapshot is None or credential is None or not is_live:",
        "    if snapshot is None or credential is None:",
        (f"{APPLICATION}test_access.py",),
    ),
    Mutant(
        "old requests are accepted",
        "core_service/application/access.py",
        "    if abs(now.timestamp() - signed_at) > max_age:",
        "    if signed_at - now.timestamp() > max_age:",
        (f"{APPLICATION}test_access.py",),
    ),
    Mutant(
        "the address allowlist is not looked at",
        "core_service/application/access.py",
        "    if not address_allowed(snapshot.allowlist, request.client_address):",
        "    if False:",
        (f"{APPLICATION}test_access.py",),
    ),
    Mutant(
        "IPv4 inside IPv6 is not the IPv4 address (allowlist)",
        "core_service/domain/merchant.py",
        '        parsed = _unmapped(ipaddress.ip_address(address or ""))',
        '        parsed = ipaddress.ip_address(address or "")',
        (f"{DOMAIN}test_merchant.py",),
    ),
    Mutant(
        "a key may sign for another merchant",
        "core_service/application/access.py",
        "    if request.merchant_code != snapshot.facts.code:",
        "    if not request.merchant_code:",
        (f"{APPLICATION}test_access.py",),
    ),
    Mutant(
        "the notified amount is not compared",
        "core_service/application/provider_notifications.py",
        "        if (report.paid_amount_fen, report.currency) != (order.amount_fen, order.currency):",
        "        if report.currency != order.currency:",
        (f"{APPLICATION}test_provider_notifications.py",),
    ),
    Mutant(
        "an amount is compared with a tolerance",
        "core_service/domain/payment_order.py",
        "        if (report.paid_amount_fen, report.currency) != (order.amount_fen, order.currency):",
        "        if abs((report.paid_amount_fen or 0) - order.amount_fen) > 1:",
        (f"{DOMAIN}test_payment_order.py",),
    ),
    Mutant(
        "other people's orders are found",
        "core_service/storage/payment_orders.py",
        '    + """WHERE o.merchant_id = %(merchant_id)s AND (o.id =',
        '    + """WHERE %(merchant_id)s::text IS NOT NULL AND (o.id =',
        (f"{APPLICATION}test_close_and_query.py",),
    ),
    Mutant(
        "other people's orders are found by who only looks",
        "core_service/storage/payment_orders.py",
        "\n    WHERE o.merchant_id = %(merchant_id)s AND (o.id =",
        "\n    WHERE %(merchant_id)s::text IS NOT NULL AND (o.id =",
        (f"{APPLICATION}test_close_and_query.py",),
    ),
    Mutant(
        "the callback token is not compared",
        "core_service/application/provider_notifications.py",
        "    is_open = is_right and account.enabled and",
        "    is_open = account.enabled and",
        (f"{APPLICATION}test_provider_notifications.py",),
    ),
    Mutant(
        "a disabled account's notifications are taken",
        "core_service/application/provider_notifications.py",
        "    is_open = is_right and account.enabled and",
        "    is_open = is_right and",
        (f"{APPLICATION}test_provider_notifications.py",),
    ),
    Mutant(
        "a notification is taken by what is remembered of an account that was closed since",
        "core_service/storage/payment_orders.py",
        "WHERE m.id = %s AND m.version = %s",
        "WHERE m.id = %s AND m.version <> -%s",
        (f"{APPLICATION}test_provider_notifications.py",),
    ),
    Mutant(
        "late money is ignored",
        "core_service/domain/payment_order.py",
        "    (_CANCELLED, OrderEvent.PAID): _SUCCEEDED,",
        "    (_CANCELLED, OrderEvent.PAID): _CANCELLED,",
        (f"{DOMAIN}test_payment_order.py",),
    ),
    Mutant(
        "a refund is sent again under another number",
        "core_service/application/refunds.py",
        "        refund_id=refund.id,\n        order_id=order.id,\n        gateway_order_id",
        '        refund_id=new_id("rf"),\n        order_id=order.id,\n        gateway_order_id',
        (f"{APPLICATION}test_refunds.py",),
    ),
    Mutant(
        "a refused refund keeps its reservation",
        "core_service/application/refunds.py",
        "        return payment_orders.release(order, refund.amount_fen, now=now) or order",
        "        return order",
        (f"{APPLICATION}test_refunds.py",),
    ),
    Mutant(
        "an unanswered refund has failed",
        "core_service/application/refunds.py",
        '        state=RefundState.PROCESSING,\n        provider_status="UNKNOWN",',
        '        state=RefundState.FAILED,\n        provider_status="UNKNOWN",',
        (f"{APPLICATION}test_refunds.py",),
    ),
    Mutant(
        "more can be refunded than was paid",
        "core_service/application/refunds.py",
        "    if order.refund_reserved_fen + amount_fen > order.paid_amount_fen:",
        "    if amount_fen > order.paid_amount_fen:",
        (f"{APPLICATION}test_refunds.py",),
    ),
    Mutant(
        "an order whose creation was not answered has failed",
        "core_service/application/payment_order_creation.py",
        "            payment_orders.note_provider_status(order, OUTCOME_UNKNOWN, now=self.now)\n",
        '            self._fail(order, ProviderRefused("UNKNOWN", "no answer"))\n',
        (
            f"{APPLICATION}test_create_order.py",
            f"{APPLICATION}test_meeting_requests.py",
            f"{APPLICATION}test_once_intended.py",
        ),
    ),
    Mutant(
        "each attempt has a delivery id of its own",
        "core_service/application/callback_attempts.py",
        "callback.Envelope(claimed.id, claimed.event,",
        'callback.Envelope(f"{claimed.id}-{claimed.attempt_number}", claimed.event,',
        (f"{WORKERS}test_callback_attempts.py",),
    ),
    Mutant(
        "the same merchants are told first every time",
        "core_service/storage/callbacks.py",
        "        ORDER BY turn, due.merchant_id <= %(after)s, due.merchant_id, due.due_at",
        "        ORDER BY turn, due.merchant_id, due.due_at",
        (f"{WORKERS}test_callback_claims.py",),
    ),
    Mutant(
        "two workers may claim one delivery",
        "core_service/storage/callbacks.py",
        "              AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())\n"
        "            FOR UPDATE SKIP LOCKED",
        "              AND due_at <= now()\n            FOR UPDATE SKIP LOCKED",
        (f"{WORKERS}test_callback_claims.py",),
    ),
    Mutant(
        "callbacks are tried again after they were delivered",
        "core_service/storage/callbacks.py",
        "SET status = CASE d.status WHEN 'DELIVERED' THEN 'DELIVERED' ELSE g.next_status END",
        "SET status = CASE g.next_status WHEN 'DELIVERED' THEN 'PENDING' ELSE g.next_status END",
        (f"{WORKERS}test_callback_attempts.py",),
    ),
    Mutant(
        "private addresses are public",
        "core_service/outbound_http.py",
        '        "10.0.0.0/8",\n',
        "",
        ("tests/core_service/test_outbound_http.py",),
    ),
    Mutant(
        "IPv4 inside IPv6 is not the IPv4 address (callbacks)",
        "core_service/outbound_http.py",
        "    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None",
        "    mapped = None",
        ("tests/core_service/test_outbound_http.py",),
    ),
    Mutant(
        "one good address of a name is enough",
        "core_service/outbound_http.py",
        "        if not all(_is_allowed(address, self._allowed) for address in addresses):",
        "        if not any(_is_allowed(address, self._allowed) for address in addresses):",
        ("tests/core_service/test_outbound_http.py",),
    ),
    Mutant(
        "a redirect counts as delivered",
        "core_service/domain/callback.py",
        "200 <= http_status <= 299",
        "200 <= http_status <= 399",
        (f"{DOMAIN}test_callback.py",),
    ),
    Mutant(
        "certificates are not checked",
        "core_service/outbound_http.py",
        "        context = ssl_context or ssl.create_default_context()\n",
        "        context = ssl._create_unverified_context()\n",
        ("tests/core_service/test_outbound_http.py",),
    ),
    Mutant(
        "a dribbling server stretches the deadline",
        "core_service/outbound_http.py",
        "    sock.budget = budget",
        "    sock.settimeout(budget.deadline.left())",
        ("tests/core_service/test_outbound_http.py",),
    ),
    Mutant(
        "a ledger line has the wrong sign",
        "core_service/domain/ledger.py",
        "    return capture_lines(-amount_fen, -fee_fen)",
        "    return capture_lines(amount_fen, fee_fen)",
        (f"{DOMAIN}test_ledger.py",),
    ),
    Mutant(
        "one key serves every operation",
        "core_service/application/payment_orders.py",
        'CLOSE = "payment_order.close"',
        'CLOSE = "payment_order.create"',
        (f"{APPLICATION}test_idempotency.py",),
    ),
    Mutant(
        "the same key with another request gets the first one's answer",
        "core_service/application/idempotency.py",
        "    if known is None or known.fingerprint not in fingerprints:",
        "    if known is None:",
        (f"{APPLICATION}test_idempotency.py",),
    ),
    Mutant(
        "a lost connection at COMMIT is a failure",
        "core_service/storage/database.py",
        "            if _stands(committed, unknown):",
        "            if _stands(committed, unknown) and not unknown:",
        ("tests/core_service/storage/test_database.py",),
    ),
    Mutant(
        "a COMMIT that may stand is answered as if nothing was done",
        "core_service/application/effects.py",
        "            raise nobody_knows(call) from failure",
        "            raise",
        (f"{APPLICATION}test_once_intended.py",),
    ),
    Mutant(
        "a nonce is spent again behind an open outcome",
        "core_service/application/effects.py",
        "    access.nonce_spent(call)\n    return outcome_open()",
        "    return outcome_open()",
        (f"{APPLICATION}test_once_intended.py",),
    ),
    Mutant(
        "a core that died has done nothing",
        "rest_edge/core_connection.py",
        "method.idempotency_operation and is_outcome_open(failure)",
        "method.idempotency_operation and not is_outcome_open(failure)",
        ("tests/rest_edge/test_transcoding.py",),
    ),
    Mutant(
        "contention is not retried",
        "core_service/storage/database.py",
        "            if attempt == MAX_TRIES or getattr",
        "            if attempt or getattr",
        ("tests/core_service/storage/test_database.py",),
    ),
    Mutant(
        "an expired order is cancelled although its close is not confirmed",
        "core_service/application/provider_asking.py",
        "    if report.state is PaymentState.UNPAID and closed in (PaymentState.CLOSED, PaymentState.UNPAID):",
        "    if report.state is PaymentState.UNPAID:",
        (f"{APPLICATION}test_provider_asking.py",),
    ),
    Mutant(
        "an account that must rest is asked for",
        "core_service/storage/payment_orders.py",
        " AND account_id <> ALL(%(resting)s)",
        "",
        (f"{APPLICATION}test_provider_asking.py",),
    ),
    Mutant(
        "a call that the provider turned away counts as a question",
        "core_service/application/provider_asking.py",
        "        refunds.set_next_ask(refund, end, counts=False)",
        "        refunds.set_next_ask(refund, end)",
        (f"{APPLICATION}test_provider_asking.py",),
    ),
    Mutant(
        "a key is repeated in JSON",
        "rest_edge/strict_json.py",
        "    if len(result) != len(pairs):",
        "    if not result and pairs:",
        (f"{EDGE}test_strict_json.py",),
    ),
    Mutant(
        "NaN is a number",
        "rest_edge/strict_json.py",
        "    parse_constant=_refuse_constant,\n",
        "",
        (f"{EDGE}test_strict_json.py",),
    ),
    Mutant(
        "a missing app id is as good as the right one",
        "core_service/providers/alipay/notification.py",
        '    if fields.get("app_id") != keys.app_id:',
        '    if fields.get("app_id", keys.app_id) != keys.app_id:',
        (f"{PROVIDERS}test_alipay_page.py",),
    ),
    Mutant(
        "another merchant's WeChat notification is believed",
        "core_service/providers/wxpay/notification.py",
        '    if inner.get("mchid") != keys.mch_id:',
        '    if not inner.get("mchid"):',
        (f"{PROVIDERS}test_wxpay_native.py", f"{PROVIDERS}test_vectors.py"),
    ),
    Mutant(
        "what the payer paid after coupons is the amount",
        "core_service/providers/wxpay/notification.py",
        '        paid_amount_fen=amount_of(fields, "total"),',
        '        paid_amount_fen=amount_of(fields, "payer_total"),',
        (f"{PROVIDERS}test_wxpay_native.py", f"{PROVIDERS}test_vectors.py"),
    ),
    Mutant(
        "a sealed secret opens in another place",
        "core_service/storage/secret_box.py",
        '        return f"{self.table}\\x1f{self.row_id}\\x1f{self.field}\\x1f{self.merchant_id}".encode()',
        '        return b"a secret"',
        ("tests/core_service/storage/test_secret_box.py",),
    ),
    Mutant(
        "a session never becomes idle",
        "core_service/application/sessions.py",
        "idle_since=now - IDLE_LIMIT",
        "idle_since=now - ABSOLUTE_LIMIT",
        ("tests/core_service/rpc/test_sessions.py",),
    ),
)
