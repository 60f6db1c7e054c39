#!/usr/bin/env bash
# Verifies a callback: standard input has its headers, an empty line and the body, byte for byte.
# Needs NOVAPAY_NOTIFY_SECRET. Exit status 0: genuine. One of the two formats is enough for a shop.
set -euo pipefail

request=$(mktemp) && trap 'rm -f "$request" "$request.body"' EXIT
cat >"$request"
sed '1,/^\r\?$/d' "$request" >"$request.body"
header() { sed '/^\r\?$/q' "$request" | tr -d '\r' | sed -n "s/^$1: *//Ip"; }
is_fresh() { local age=$(($(date +%s) - $1)); ((age > -300 && age < 300)); }

verify_novapay() {
  local timestamp signature
  timestamp=$(header x-novapay-timestamp)
  signature=$({ printf '%s.' "$timestamp" && cat "$request.body"; } |
    openssl dgst -sha256 -hmac "$NOVAPAY_NOTIFY_SECRET" -r | cut -d' ' -f1)
  is_fresh "$(date -d "$timestamp" +%s)" && [ "$signature" = "$(header x-novapay-signature)" ]
}

verify_standard_webhooks() {
  local timestamp key signature
  timestamp=$(header webhook-timestamp)
  key=$(printf '%s' "${NOVAPAY_NOTIFY_SECRET#whsec_}" | base64 -d | od -An -tx1 | tr -d ' \n')
  signature=v1,$({ printf '%s.%s.' "$(header webhook-id)" "$timestamp" && cat "$request.body"; } |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
  # The header may have several signatures, while a secret is being replaced.
  is_fresh "$timestamp" && [[ " $(header webhook-signature) " == *" $signature "* ]]
}

verify_novapay && verify_standard_webhooks && echo genuine
