import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { openDatabase } from '../support/database.js'

const app = await startApp()
const ME = '{ me { id } }'

describe('the short way and the way through Yoga give the same answer', () => {
  const credentials = { identifier: 'nobody@example.com', password: 'x' }
  const login =
    'mutation ($input: LoginInput!) { login(input: $input) { __typename ... on UserError { code message } } }'
  const FORMATS = ['application/json', 'application/graphql-response+json']

  test.each([
    ['to a query', { query: ME }],
    ['to a query that asks for its own type', { query: '{ __typename me { __typename } }' }],
    ['to a failure that is a member of the union', { query: login, variables: { input: credentials } }],
    ['to a partial success', { query: '{ me { id } a: me { id } b: me { id } }' }],
    ['to a field that needs a session', { query: '{ sessions { edges { cursor } } }' }],
    [
      'to a refusal of the second of two mutations',
      { query: 'mutation { a: logout { __typename } b: terminateAllSessions { __typename } }' },
    ],
    ['to an unknown field', { query: '{ you { id } }' }],
    ['to a syntax error', { query: '{ me { ' }],
    ['to a variable that is missing', { query: login }],
    ['to a variable of another type', { query: login, variables: { input: { ...credentials, rememberMe: 'yes' } } }],
    ['to an input of the wrong shape', { query: login, variables: { input: { ...credentials, identifier: '' } } }],
    ['to a literal of another type', { query: 'mutation { login(input: { identifier: 7 }) { __typename } }' }],
    ['to an unknown operation name', { query: `query A ${ME}`, operationName: 'B' }],
  ])('%s', async (_, params) => {
    const { anonymous } = app
    for (const accept of FORMATS) {
      const [lean, yoga] = [
        await anonymous.post(JSON.stringify(params), { accept }),
        await anonymous.post(JSON.stringify(params), { accept: `${accept};q=0.9` }),
      ]
      expect({ data: yoga.data, errors: yoga.errors, status: yoga.status }).toEqual({
        ...{ data: lean.data, errors: lean.errors, status: lean.status },
      })
      expect(yoga.headers.get('content-type')).toBe(lean.headers.get('content-type'))
    }
  })

  test('to an operation that a limit refuses, also where its field may be null', async () => {
    const { anonymous } = await startApp({ env: { RATE_LIMITS: 'anonymous=1/1h;*=100000/1m' } })
    const ask = (accept: string) => anonymous.post(JSON.stringify({ query: ME }), { accept })
    expect((await ask('application/json')).status).toBe(200)
    for (const accept of ['application/json', 'application/json;q=0.9', ...FORMATS]) {
      const { status, data, errors, headers } = await ask(accept)
      expect({ status, data, retryAfter: headers.get('retry-after') }).toEqual({
        status: 429,
        data: null,
        retryAfter: '3600',
      })
      expect(errors).toMatchObject([{ path: ['me'], extensions: { code: 'RATE_LIMITED' } }])
    }
  })

  test('to a call that a limit refuses beside one that it lets pass', async () => {
    const { anonymous } = await startApp({ env: { RATE_LIMITS: 'anonymous=1/1h;*=100000/1m' } })
    const answers = ['application/json', 'application/json;q=0.9'].map((accept, index) =>
      anonymous
        .with({ 'x-forwarded-for': `203.0.113.${index + 1}` })
        .post(JSON.stringify({ query: '{ a: me { id } b: me { id } }' }), { accept }),
    )
    for (const { status, data, errors } of await Promise.all(answers)) {
      expect({ status, data }).toEqual({ status: 200, data: { a: null, b: null } })
      expect(errors).toMatchObject([{ path: ['b'], extensions: { code: 'RATE_LIMITED', limit: 1, retryAfter: 3600 } }])
    }
  })
})

test('What fails before any field is executed is the fault of the server, by its status, whatever way the request takes', async () => {
  const env = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example', REDIS_URL: '' }
  const here = await startApp({ env })
  const { accessToken } = await here.newUser()
  // What it has in memory it would not look for.
  const broken = await startApp({ env, beside: here })
  const { query } = await openDatabase(here.installation)
  await query('ALTER TABLE sessions RENAME TO elsewhere')
  for (const [accept, document] of [
    ['application/json', ME],
    ['application/json;q=0.9', ME],
    ['text/event-stream', 'subscription { securityAlerts { cursor } }'],
  ] as const) {
    const response = await fetch(`${broken.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${accessToken}`, accept },
      body: JSON.stringify({ query: document }),
    })
    expect({ accept, status: response.status }).toEqual({ accept, status: 500 })
    expect(await response.text()).toContain('"INTERNAL_SERVER_ERROR"')
  }
  await query('ALTER TABLE elsewhere RENAME TO sessions')
  broken.log.hush(/^A request failed$/)
})
