// Asks the signature validator of Taskcluster's own auth service about headers, good
// and bad, and prints what it says. To make verdicts.json anew:
//   npm install hawk@9.0.1 taskcluster-lib-scopes@11.0.0
//   cp .../taskcluster@v44.23.4/services/auth/src/signaturevalidator.js signaturevalidator.cjs
//   node verdicts.mjs > verdicts.json
// auth_verdicts_test.go holds the stand-in for that service to them. Two more clients
// than it are known here: one is disabled, one has expired; the messages of these are
// those of services/auth/src/scoperesolver.js.
import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';

const ts = 1767323045;
const token = 'no-secret-of-anyone';
let now = ts * 1000; // by the service's clock
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args) { super(...(args.length ? args : [now])); }
  static now() { return now; }
};
const { createSignatureValidator } = createRequire(import.meta.url)('./signaturevalidator.cjs');

const day = 24 * 3600 * 1000;
const scopes = ['hooks:*', 'auth:create-client:sheriff/one/*', 'queue:get-task:x'];
const validate = createSignatureValidator({
  clientLoader: async (clientId) => {
    if (clientId !== 'sheriff/one') {
      throw new Error(`Client with clientId '${clientId}' not found`);
    }
    return { clientId, accessToken: token, scopes, expires: new Date(now + day) };
  },
  monitor: {},
});

const method = 'post', resource = '/a?b=1&a=%2F', host = 'roller.example', port = 443;
const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest('base64');

// A header with a true MAC over whatever stands in it.
function signed(given = {}, key = token, format = (a) => Object.entries(a).map(([k, v]) => `${k}="${v}"`).join(', ')) {
  const a = { id: 'sheriff/one', ts: String(ts), nonce: 'j4h3g2', ...given };
  const text = ['hawk.1.header', a.ts, a.nonce, method.toUpperCase(), resource, host, port, a.hash ?? '', a.ext ?? ''];
  if (a.app) text.push(a.app, a.dlg ?? '');
  a.mac ??= hmac(key, text.join('\n') + '\n');
  return `Hawk ${format(a)}`;
}

// Temporary credentials; change spoils the certificate before it is signed, or after.
function temporary({ id = 'sheriff/one', issuer, scopes = ['hooks:list-hooks:x'], before = {}, after = {}, ext = {}, header = {} }) {
  const cert = { version: 1, scopes, start: (ts - 600) * 1000, expiry: (ts + 3600) * 1000, seed: 'a'.repeat(22) + 'B'.repeat(22) };
  if (issuer) cert.issuer = issuer;
  Object.assign(cert, before);
  const lines = ['version:1'];
  if (cert.issuer) lines.push(`clientId:${id}`, `issuer:${cert.issuer}`);
  lines.push(`seed:${cert.seed}`, `start:${cert.start}`, `expiry:${cert.expiry}`, 'scopes:', ...[].concat(cert.scopes));
  cert.signature = hmac(token, lines.join('\n'));
  Object.assign(cert, after);
  const key = hmac(token, String(cert.seed)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
  return signed({ id, ext: base64({ certificate: cert, ...ext }), ...header }, key);
}

const minute = 60;
const cases = {
  'a login': [signed()],
  'a hash': [signed({ hash: 'Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY=' })],
  'an application': [signed({ app: 'app-1', dlg: 'dlg-1' })],
  'an application without delegation': [signed({ app: 'app-1' })],
  'an ext of no meaning': [signed({ ext: base64({ x: 1 }) })],
  'another order': [signed({}, token, (a) => Object.entries(a).reverse().map(([k, v]) => `${k}="${v}"`).join(', '))],
  'no blanks': [signed({}, token, (a) => Object.entries(a).map(([k, v]) => `${k}="${v}"`).join(','))],
  'many blanks': [signed({}, token, (a) => '   ' + Object.entries(a).map(([k, v]) => `${k}="${v}"`).join(' ,   '))],
  'a comma at the end': [signed({}, token, (a) => Object.entries(a).map(([k, v]) => `${k}="${v}"`).join(', ') + ', ')],
  'no comma between': [signed({}, token, (a) => Object.entries(a).map(([k, v]) => `${k}="${v}"`).join(' '))],
  'a blank before the value': [signed({}, token, (a) => Object.entries(a).map(([k, v]) => `${k}= "${v}"`).join(', '))],
  'HAWK': [signed().replace('Hawk', 'HAWK')],
  'a tab after the scheme': [signed().replace('Hawk ', 'Hawk\t')],
  'an upper-case attribute': [signed().replace('id=', 'ID=')],

  'no header': [''],
  'the scheme alone': ['Hawk'],
  'the scheme and a blank': ['Hawk '],
  'another scheme': ['Basic YTpi'],
  'no scheme': ['"'],
  'no id': [signed().replace(/id="[^"]*", /, '')],
  'no mac': [signed().replace(/, mac="[^"]*"/, '')],
  'an unknown attribute': [signed() + ', x="1"'],
  'an unknown attribute, and garbage': [signed() + ', x="1", !'],
  'an attribute twice': [signed() + ', id="b"'],
  'an attribute without quotes': ['Hawk id=sheriff'],
  'garbage behind': [signed() + ' garbage'],
  'an empty value': [signed() + ', ext=""'],
  'an empty id': [signed({ id: '' })],
  'a value that is no ASCII': [signed({ nonce: 'é' })],
  'a backslash': [signed({ nonce: 'a\\b' })],
  'as long as may be': [(() => { const h = signed({ ext: base64('{"x":1}') }); return signed({ nonce: 'n'.repeat(4096 - h.length + 6), ext: base64('{"x":1}') }); })()],
  'longer than may be': [(() => { const h = signed({ ext: base64('{"x":1}') }); return signed({ nonce: 'n'.repeat(4096 - h.length + 7), ext: base64('{"x":1}') }); })()],

  'an unknown client': [signed({ id: 'nobody' })],
  'another token': [signed({}, 'another')],
  'a MAC of another length': [signed({ mac: 'x' })],
  'a hash that is not signed': [signed() + ', hash="AA=="'],
  'a delegation that is not signed': [signed() + ', dlg="x"'],
  'an application that is not signed': [signed() + ', app="x"'],

  '15 minutes old': [signed(), 15 * minute],
  'a second more': [signed(), 15 * minute + 1],
  '15 minutes early': [signed(), -15 * minute],
  'a second earlier': [signed(), -15 * minute - 1],
  'stale, and another token': [signed({}, 'another'), 16 * minute],
  'a time that is a fraction': [signed({ ts: `${ts}.5` })],
  'a time that is no number': [signed({ ts: 'now' })],
  'a time that is no number, years later': [signed({ ts: 'now' }), 9e7],
  'a time that is blank': [signed({ ts: ' ' })],

  'ext is no base64': [signed({ ext: '!' })],
  'ext is no JSON': [signed({ ext: base64('{') })],
  'authorizedScopes': [signed({ ext: base64({ authorizedScopes: ['hooks:list-hooks:y'] }) })],
  'authorizedScopes, none': [signed({ ext: base64({ authorizedScopes: [] }) })],
  'authorizedScopes, the anonymous': [signed({ ext: base64({ authorizedScopes: ['assume:anonymous'] }) })],
  'authorizedScopes, a pattern': [signed({ ext: base64({ authorizedScopes: ['hooks:x*'] }) })],
  'authorizedScopes that are not held': [signed({ ext: base64({ authorizedScopes: ['secrets:x'] }) })],
  'authorizedScopes, a wider pattern': [signed({ ext: base64({ authorizedScopes: ['hook*'] }) })],
  'authorizedScopes of a text': [signed({ ext: base64({ authorizedScopes: 'hooks:x' }) })],
  'authorizedScopes of no scopes': [signed({ ext: base64({ authorizedScopes: ['é'] }) })],

  'a certificate': [temporary({})],
  'a certificate with a name': [temporary({ id: 'sheriff/one/laptop', issuer: 'sheriff/one' })],
  'a certificate of no scopes': [temporary({ scopes: [] })],
  'a certificate, limited': [temporary({ ext: { authorizedScopes: ['hooks:list-hooks:x'] } })],
  'a certificate, limited to what the issuer only has': [temporary({ ext: { authorizedScopes: ['hooks:list-hooks:y'] } })],
  'expired 5 minutes ago': [temporary({ before: { expiry: (ts - 300) * 1000 } })],
  'expired a second earlier': [temporary({ before: { expiry: (ts - 301) * 1000 } })],
  'begins in 5 minutes': [temporary({ before: { start: (ts + 300) * 1000 } })],
  'begins a second later': [temporary({ before: { start: (ts + 301) * 1000 } })],
  'for 31 days': [temporary({ before: { start: ts * 1000, expiry: ts * 1000 + 31 * day } })],
  'for longer': [temporary({ before: { start: ts * 1000, expiry: ts * 1000 + 31 * day + 1 } })],
  'version 2': [temporary({ before: { version: 2 } })],
  'a short seed': [temporary({ before: { seed: 'x' } })],
  'a seed that is a number': [temporary({ before: { seed: 7 } })],
  'a start that is a text': [temporary({ before: { start: 'x' } })],
  'scopes that are a text': [temporary({ before: { scopes: 'hooks:x' } })],
  'a scope that is none': [temporary({ scopes: ['é'] })],
  'more than the issuer has': [temporary({ scopes: ['secrets:x'] })],
  'a name that the issuer may not give': [temporary({ id: 'somebody/else', issuer: 'sheriff/one' })],
  'its own issuer': [temporary({ issuer: 'sheriff/one' })],
  'an unknown issuer': [temporary({ id: 'sheriff/one', issuer: 'nobody' })],
  'a clientId without an issuer': [temporary({ before: { clientId: 'sheriff/one' } })],
  'changed after it was signed': [temporary({ after: { scopes: ['hooks:list-hooks:y'] } })],
  'changed after it was signed, with a name': [temporary({ id: 'sheriff/one/laptop', issuer: 'sheriff/one', after: { expiry: (ts + 3601) * 1000 } })],
  'signed with the issuer\'s own key': [(() => { const h = temporary({}); const ext = /ext="([^"]*)"/.exec(h)[1]; return signed({ ext }); })()],
};

const out = [];
for (const [name, [authorization, later = 0]] of Object.entries(cases)) {
  now = (ts + later) * 1000;
  const verdict = await validate({ method, resource, host, port, ...(authorization === '' ? {} : { authorization }) });
  out.push({ name, authorization, later, verdict });
}
console.log(JSON.stringify({ hawk: '9.0.1', taskcluster: '44.23.4', ts, method, resource, host, port, scopes, cases: out }, null, 1));
