// Verifies a callback: standard input has its headers, an empty line and the body, byte for byte.
// Needs NOVAPAY_NOTIFY_SECRET. Exit status 0: genuine. One of the two formats is enough for a shop.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';

const TOLERANCE_SECONDS = 300;

const isFresh = (seconds) => Math.abs(Date.now() / 1000 - seconds) < TOLERANCE_SECONDS;

function isEqual(expected, given) {
  const [a, b] = [Buffer.from(expected), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function verifyNovapay(headers, body, secret) {
  const timestamp = headers['x-novapay-timestamp'];
  const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
  return isFresh(Date.parse(timestamp) / 1000) && isEqual(expected, headers['x-novapay-signature']);
}

function verifyStandardWebhooks(headers, body, secret) {
  const timestamp = headers['webhook-timestamp'];
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const digest = createHmac('sha256', key)
    .update(`${headers['webhook-id']}.${timestamp}.`)
    .update(body)
    .digest('base64');
  // The header may have several signatures, while a secret is being replaced.
  const given = headers['webhook-signature'].split(' ');
  return isFresh(Number(timestamp)) && given.some((item) => isEqual(`v1,${digest}`, item));
}

const request = readFileSync(0);
const end = request.indexOf('\n\n');
const body = request.subarray(end + 2);
const headers = {};
for (const line of request.subarray(0, end).toString().split('\n')) {
  const colon = line.indexOf(':');
  headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
}
const secret = process.env.NOVAPAY_NOTIFY_SECRET;
const genuine =
  verifyNovapay(headers, body, secret) && verifyStandardWebhooks(headers, body, secret);
console.log(genuine ? 'genuine' : 'refused');
process.exitCode = genuine ? 0 : 1;
