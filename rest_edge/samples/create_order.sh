#!/usr/bin/env bash
# Signs and sends one request with curl and openssl. Needs NOVAPAY_BASE, NOVAPAY_MERCHANT, NOVAPAY_KEY, NOVAPAY_SECRET.
set -euo pipefail

order="shop-$(date +%s)-$RANDOM"
body='{"merchantCode":"'$NOVAPAY_MERCHANT'","channelCode":"alipay.page","externalOrderId":"'$order'","amount":"88.10","subject":"年度会员"}'

timestamp=$(date +%s)
nonce=$(openssl rand -hex 12)
signature=$(printf '%s.%s.%s' "$timestamp" "$nonce" "$body" |
  openssl dgst -sha256 -hmac "$NOVAPAY_SECRET" -r | cut -d' ' -f1)

# --data-binary sends the bytes that were signed, as they are.
curl --silent --show-error --fail-with-body "$NOVAPAY_BASE/api/payment-orders" \
  --header "x-novapay-key: $NOVAPAY_KEY" \
  --header "x-novapay-timestamp: $timestamp" \
  --header "x-novapay-nonce: $nonce" \
  --header "x-novapay-signature: $signature" \
  --header "Idempotency-Key: $order" \
  --header "Content-Type: application/json" \
  --data-binary "$body"
