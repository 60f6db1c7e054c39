<?php
// Verifies a callback: standard input has its headers, an empty line and the body, byte for byte.
// Needs NOVAPAY_NOTIFY_SECRET. Exit status 0: genuine. One of the two formats is enough for a shop.

const TOLERANCE_SECONDS = 300;

function is_fresh(int $seconds): bool
{
    return abs(time() - $seconds) < TOLERANCE_SECONDS;
}

function verify_novapay(array $headers, string $body, string $secret): bool
{
    $timestamp = $headers['x-novapay-timestamp'];
    $expected = hash_hmac('sha256', "$timestamp.$body", $secret);
    return is_fresh(strtotime($timestamp)) && hash_equals($expected, $headers['x-novapay-signature']);
}

function verify_standard_webhooks(array $headers, string $body, string $secret): bool
{
    $timestamp = $headers['webhook-timestamp'];
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $digest = base64_encode(hash_hmac('sha256', "{$headers['webhook-id']}.$timestamp.$body", $key, true));
    // The header may have several signatures, while a secret is being replaced.
    foreach (explode(' ', $headers['webhook-signature']) as $given) {
        if (is_fresh((int) $timestamp) && hash_equals("v1,$digest", $given)) {
            return true;
        }
    }
    return false;
}

[$head, $body] = explode("\n\n", file_get_contents('php://stdin'), 2);
$headers = [];
foreach (explode("\n", $head) as $line) {
    [$name, $value] = explode(':', $line, 2);
    $headers[strtolower($name)] = trim($value);
}
$secret = getenv('NOVAPAY_NOTIFY_SECRET');
$genuine = verify_novapay($headers, $body, $secret) && verify_standard_webhooks($headers, $body, $secret);
echo $genuine ? 'genuine' : 'refused', PHP_EOL;
exit($genuine ? 0 : 1);
