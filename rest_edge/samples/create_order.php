<?php
// Signs and sends one request. Needs NOVAPAY_BASE, NOVAPAY_MERCHANT, NOVAPAY_KEY, NOVAPAY_SECRET.

/** Status and body of the answer. */
function post(string $path, array $fields, string $idempotencyKey): array
{
    $body = json_encode(['merchantCode' => getenv('NOVAPAY_MERCHANT')] + $fields, JSON_THROW_ON_ERROR);
    $timestamp = (string) time();
    $nonce = bin2hex(random_bytes(12));
    $signature = hash_hmac('sha256', "$timestamp.$nonce.$body", getenv('NOVAPAY_SECRET'));
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => [
            'x-novapay-key: ' . getenv('NOVAPAY_KEY'),
            "x-novapay-timestamp: $timestamp",
            "x-novapay-nonce: $nonce",
            "x-novapay-signature: $signature",
            "Idempotency-Key: $idempotencyKey",
            'Content-Type: application/json',
        ],
        'content' => $body, // the bytes that were signed
        'ignore_errors' => true, // 4xx and 5xx have a body too
        'timeout' => 30,
    ]]);
    $text = file_get_contents(getenv('NOVAPAY_BASE') . $path, false, $context);
    return [(int) explode(' ', $http_response_header[0])[1], $text];
}

$order = 'shop-' . bin2hex(random_bytes(8));
[$status, $text] = post('/api/payment-orders', [
    'channelCode' => 'alipay.page',
    'externalOrderId' => $order,
    'amount' => '88.10',
    'subject' => '年度会员',
], $order);
echo $text, PHP_EOL;
exit($status === 200 ? 0 : 1);
