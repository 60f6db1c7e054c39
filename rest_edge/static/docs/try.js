// Swagger UI over the live document. Merchant requests are signed here, over the exact bytes of the body; key and secret
// are read from the page when a request is sent, kept nowhere else, and the secret is never sent.
'use strict';

const language = document.documentElement.lang;
const field = (id) => document.getElementById(id).value.trim();
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const fresh = () => `try-${hex(crypto.getRandomValues(new Uint8Array(6)))}`;
const SIGNED = /^\/api\/(payment-orders|payment-refunds|payments\/(orders|refunds))(\/|$)/;

/** The document in the reader's language, without the headers that are made here, with samples that can be sent. */
function prepare(node) {
  if (Array.isArray(node)) {
    return node.map(prepare);
  }
  if (node === null || typeof node !== 'object') {
    return node;
  }
  const made = {};
  for (const [name, value] of Object.entries(node)) {
    if (name === 'parameters' && Array.isArray(value)) {
      made[name] = value.filter((item) => !item.name.startsWith('x-novapay-')).map(prepare);
    } else if (!name.startsWith('x-')) {
      made[name] = prepare(value);
    }
  }
  for (const name of ['summary', 'description']) {
    const english = node[`x-${name}-en`];
    if (language === 'en' && typeof english === 'string') {
      made[name] = english;
    }
  }
  return made;
}

/** Keeps what can be tried: no servers or cookies to choose, no pages, no provider's calls, no old paths. */
function tryable(whole) {
  const { servers, components, ...kept } = whole;
  for (const [path, item] of Object.entries(kept.paths)) {
    const old = Object.values(item).some((operation) => operation.deprecated);
    if (old || !path.startsWith('/api/') || path.includes('/callback/') || path === '/api/openapi') {
      delete kept.paths[path];
    }
    for (const operation of Object.values(item)) {
      delete operation.security;
    }
  }
  return kept;
}

function sendable(document_) {
  const merchant = field('merchant');
  for (const operation of Object.values(document_.paths).flatMap((item) => Object.values(item))) {
    const sample = operation.requestBody?.content['application/json']?.example;
    if (sample?.merchantCode) {
      sample.merchantCode = merchant || sample.merchantCode;
    }
    for (const name of ['externalOrderId', 'externalRefundId']) {
      if (sample?.[name]) {
        sample[name] = fresh();
      }
    }
    // Addresses of an example shop would only fail.
    delete sample?.callbackUrl;
    delete sample?.returnUrl;
    const key = operation.parameters?.find((item) => item.name === 'Idempotency-Key');
    if (key) {
      delete key.example;
    }
  }
  return document_;
}

/** Adds the four signing headers to a merchant's request. */
async function sign(request) {
  const path = new URL(request.url, location.href).pathname;
  if (request.method !== 'POST' || !SIGNED.test(path)) {
    return request;
  }
  const [key, secret] = [field('key'), field('secret')];
  const lacks = !key || !secret;
  document.getElementById('unsigned').hidden = !lacks;
  if (lacks) {
    return request; // the server says what is missing
  }
  const encode = (text) => new TextEncoder().encode(text);
  const body = typeof request.body === 'string' ? request.body : '';
  const timestamp = String(Math.floor(Date.now() / 1000));
  const nonce = hex(crypto.getRandomValues(new Uint8Array(12)));
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const secretKey = await crypto.subtle.importKey('raw', encode(secret), algorithm, false, ['sign']);
  const signature = await crypto.subtle.sign('HMAC', secretKey, encode(`${timestamp}.${nonce}.${body}`));
  Object.assign(request.headers, {
    'x-novapay-key': key,
    'x-novapay-timestamp': timestamp,
    'x-novapay-nonce': nonce,
    'x-novapay-signature': hex(signature),
  });
  return request;
}

async function start() {
  if (!crypto.subtle) {
    document.getElementById('insecure').hidden = false;
  }
  const live = tryable(prepare(await (await fetch('/openapi.json')).json()));
  const ui = SwaggerUIBundle({
    dom_id: '#swagger',
    spec: sendable(structuredClone(live)),
    requestInterceptor: sign,
    docExpansion: 'list',
    defaultModelsExpandDepth: -1,
    deepLinking: true,
    validatorUrl: null,
    tryItOutEnabled: true,
    persistAuthorization: false,
  });
  document.getElementById('merchant').addEventListener('change', () => {
    ui.specActions.updateJsonSpec(sendable(structuredClone(live)));
  });
}

document.getElementById('keys').addEventListener('submit', (event) => event.preventDefault());
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();
start();
