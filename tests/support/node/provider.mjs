// A strict OpenID provider for the tests: https, ES256 alone, PKCE required, a log-in form that checks passwords.
// Its settings come as one JSON line on standard input; it is ready when it answers its discovery document.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import Provider from 'oidc-provider'

const settings = JSON.parse(readFileSync(0, 'utf8'))
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })

const provider = new Provider(settings.issuer, {
  clients: settings.clients.map((client) => ({
    grant_types: ['authorization_code'],
    response_types: ['code'],
    id_token_signed_response_alg: 'ES256',
    ...client,
  })),
  jwks: { keys: [{ ...key, kid: randomBytes(8).toString('hex'), alg: 'ES256', use: 'sig' }] },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
  claims: { openid: ['sub', 'amr', 'auth_time'], profile: ['preferred_username', 'name'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: false, // the ID token itself carries what the scopes give
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  ttl: { AuthorizationCode: 60, IdToken: settings.id_token_seconds ?? 3600, Interaction: 600, Session: 3600, Grant: 3600 },
  interactions: { url: (_, interaction) => `/log-in/${interaction.uid}` },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, ...Object.values(settings.users).find((user) => user.sub === sub)?.claims }),
  }),
  // Whoever logs in has agreed: a bank's own provider asks its staff nothing more.
  async loadExistingGrant({ oidc }) {
    const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId })
    grant.addOIDCScope([...oidc.requestParamScopes].join(' '))
    await grant.save()
    return grant
  },
})

const page = (note) => `<!doctype html><title>Log in</title><p>${note}</p>
<form method="post"><input name="login" autofocus><input name="password" type="password"><button>Log in</button></form>`

async function logIn (request, response) {
  await provider.interactionDetails(request, response)
  if (request.method !== 'POST') return response.setHeader('content-type', 'text/html').end(page(''))
  let body = ''
  for await (const part of request) body += part
  const form = new URLSearchParams(body)
  const user = settings.users[form.get('login')]
  if (!user || user.password !== form.get('password')) {
    return response.writeHead(403, { 'content-type': 'text/html' }).end(page('Wrong name or password.'))
  }
  const login = { accountId: user.sub, amr: ['pwd'], remember: false }
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false })
}

const rest = provider.callback()
const tls = { cert: readFileSync(settings.certificate), key: readFileSync(settings.key) }
https.createServer(tls, (request, response) => {
  if (!request.url.startsWith('/log-in/')) return rest(request, response)
  logIn(request, response).catch((error) => response.writeHead(400).end(String(error)))
}).listen(settings.port, '127.0.0.1')
