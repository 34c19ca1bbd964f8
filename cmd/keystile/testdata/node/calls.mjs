// Ten kinds of call with the official Node client through a gateway. Where the gateway listens and which keys to use comes as
// JSON on stdin; each result goes to stdout as one line of JSON, which TestNodeStripe compares.
import Stripe from 'stripe';
import { text } from 'node:stream/consumers';

const { host, port, keys, account } = JSON.parse(await text(process.stdin));
const client = (key, more = {}) =>
  new Stripe(key, { host, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false, ...more });

async function call(name, f) {
  let result;
  try {
    const answer = await f();
    result = { name, ok: true, object: answer.object, requestId: answer.lastResponse?.requestId };
  } catch (e) {
    result = { name, ok: false, class: e.type, status: e.statusCode, code: e.code, requestId: e.requestId, message: e.message };
  }
  console.log(JSON.stringify(result));
}

const secret = client(keys.secret);
await call('charge', () => secret.charges.create({ amount: 2000, currency: 'usd', source: 'tok_visa' }));
await call('customer', () => secret.customers.create({ email: 'a@example.com' }, { idempotencyKey: 'node-1' }));
await call('retrieve', () => secret.customers.retrieve('cus_123'));
await call('pages', async () => {
  let n = 0;
  for await (const customer of secret.customers.list({ limit: 3 })) {
    n += customer.object === 'customer' ? 1 : 0;
  }
  return { object: n > 0 ? 'list' : 'nothing' };
});
const restricted = client(keys.restricted);
await call('restricted, allowed', () => restricted.customers.list({ limit: 1 }));
await call('restricted, denied', () => restricted.charges.create({ amount: 1, currency: 'usd' }));
const organization = client(keys.organization);
await call('organization with context', () => organization.customers.list({ limit: 1 }, { stripeContext: account }));
await call('organization without context', () => organization.customers.list({ limit: 1 }));
await call('live key', () => client(keys.live).charges.list({ limit: 1 }));
await call('deleted key', () => client(keys.deleted).customers.list());
await call('imported key', () => client(keys.imported).balance.retrieve());
await call('unknown key', () => client('sk_test_unknown').balance.retrieve());
