// Signs requests with Hawk's reference implementation and prints them:
//   npm install hawk@9.0.2 && node hawk.mjs > hawk.json
// auth_vectors_test.go holds the stand-in for Taskcluster's auth service to them.
import Hawk from 'hawk';
import { createHmac } from 'node:crypto';

const ts = 1767323045;
const token = 'no-secret-of-anyone';
const plain = { id: 'sheriff/one', key: token, algorithm: 'sha256' };
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');

// Temporary credentials, as Taskcluster's clients make them.
function temporary(id, issuer, scopes) {
  const seed = 'a'.repeat(22) + 'B'.repeat(22);
  const cert = { version: 1, scopes, start: (ts - 60) * 1000, expiry: (ts + 3600) * 1000, seed };
  const lines = ['version:1'];
  if (issuer) {
    cert.issuer = issuer;
    lines.push(`clientId:${id}`, `issuer:${issuer}`);
  }
  lines.push(`seed:${seed}`, `start:${cert.start}`, `expiry:${cert.expiry}`, 'scopes:', ...scopes);
  cert.signature = createHmac('sha256', token).update(lines.join('\n')).digest('base64');
  const key = createHmac('sha256', token).update(seed).digest('base64url');
  return { credentials: { id, key, algorithm: 'sha256' }, ext: base64({ certificate: cert }) };
}

const named = temporary('sheriff/one/laptop', 'sheriff/one', ['hooks:list-hooks:x']);
const unnamed = temporary('sheriff/one', '', ['hooks:*']);

const requests = {
  'a start': ['POST', 'https://roller.example/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=reboot'],
  'a port of its own': ['GET', 'http://roller.example:8000/api/v1/workers'],
  'the default port, written': ['GET', 'https://roller.example:443/api/v1/workers'],
  'a query that is not sorted': ['GET', 'http://localhost:8000/a?b=1&a=2&b=0'],
  'what is escaped stays so': ['GET', 'http://localhost:8000/a%2Fb/%7Ec?d=%2f&e=%20+'],
  'no path': ['GET', 'https://roller.example'],
  'upper-case host': ['DELETE', 'https://Roller.Example/a'],
  'lower-case method': ['put', 'https://roller.example/a'],
  'a body': ['POST', 'https://roller.example/a', { payload: '{"a":1}', contentType: 'application/json' }],
  'an application': ['GET', 'https://roller.example/a', { app: 'app-1', dlg: 'dlg-1' }],
  'fewer scopes': ['GET', 'https://roller.example/a', { ext: base64({ authorizedScopes: ['hooks:list-hooks:y'] }) }],
  'temporary credentials': ['GET', 'https://roller.example/a', unnamed],
  'temporary credentials with a name': ['GET', 'https://roller.example/a', named],
};

const out = [];
for (const [name, [method, url, options = {}]] of Object.entries(requests)) {
  const u = new URL(url);
  const { header } = Hawk.client.header(url, method, { credentials: plain, timestamp: ts, nonce: 'j4h3g2', ...options });
  out.push({
    name,
    method: method.toLowerCase(),
    resource: url.replace(/^[a-z]+:\/\/[^/?]*/, '') || '/',
    host: u.hostname,
    port: Number(u.port || (u.protocol === 'https:' ? 443 : 80)),
    authorization: header,
  });
}
console.log(JSON.stringify({ hawk: '9.0.2', ts, requests: out }, null, 2));
