// Signs and sends one request (Node 18 or newer). Needs NOVAPAY_BASE, NOVAPAY_MERCHANT, NOVAPAY_KEY, NOVAPAY_SECRET.
import { createHmac, randomBytes } from 'node:crypto';

const { NOVAPAY_BASE, NOVAPAY_MERCHANT, NOVAPAY_KEY, NOVAPAY_SECRET } = process.env;

async function post(path, fields, idempotencyKey) {
  const body = JSON.stringify({ merchantCode: NOVAPAY_MERCHANT, ...fields });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const nonce = randomBytes(12).toString('hex');
  const signature = createHmac('sha256', NOVAPAY_SECRET)
    .update(`${timestamp}.${nonce}.${body}`)
    .digest('hex');
  // The text that was signed is the text that is sent.
  return fetch(NOVAPAY_BASE + path, {
    method: 'POST',
    headers: {
      'x-novapay-key': NOVAPAY_KEY,
      'x-novapay-timestamp': timestamp,
      'x-novapay-nonce': nonce,
      'x-novapay-signature': signature,
      'idempotency-key': idempotencyKey,
      'content-type': 'application/json',
    },
    body,
  });
}

const order = `shop-${randomBytes(8).toString('hex')}`;
const answer = await post(
  '/api/payment-orders',
  { channelCode: 'alipay.page', externalOrderId: order, amount: '88.10', subject: '年度会员' },
  order,
);
console.log(await answer.text());
process.exitCode = answer.ok ? 0 : 1;
