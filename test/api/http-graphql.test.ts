import { serverAudits } from 'graphql-http'
import { describe, expect, test } from 'vitest'
import { printContract } from '../../src/executable-schema.js'
import { startApp } from '../support/app.js'
import { metric } from '../support/metrics.js'
import { openSocket, openStream } from '../support/streams.js'

const app = await startApp()
const ENDPOINT = `${app.url}/graphql`
const ME = '{ me { id } }'
const JSON_TYPE = 'application/json; charset=utf-8'

const post = (body: string, headers: Record<string, string> = {}) =>
  fetch(ENDPOINT, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })
const get = (query: string, headers: Record<string, string> = { accept: 'application/json' }) =>
  fetch(`${ENDPOINT}?${new URLSearchParams({ query })}`, { headers })
const badInput = (issue: string) => ({
  errors: [{ extensions: { code: 'BAD_USER_INPUT', issues: [{ code: issue }] } }],
})

describe('POST /graphql', () => {
  test.each([
    ['application/json', 'application/json'],
    ['application/json', 'application/json; charset=utf-8'],
    ['application/json', 'Application/JSON;charset="UTF-8"'],
  ])('takes %s, written as %s', async (_, type) => {
    const response = await post(JSON.stringify({ query: ME }), { 'content-type': type })
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ data: { me: null } })
  })

  test.each([
    ['a form', 'application/x-www-form-urlencoded', new URLSearchParams({ query: ME }).toString()],
    ['a form with files', 'multipart/form-data; boundary=x', '--x--'],
    ['plain text, which needs no preflight', 'text/plain', JSON.stringify({ query: ME })],
    ['a bare document', 'application/graphql', ME],
    ['JSON in another charset', 'application/json; charset=utf-16', JSON.stringify({ query: ME })],
    ['JSON after something else', 'text/plain, application/json', JSON.stringify({ query: ME })],
  ])('refuses %s', async (_, type, body) => {
    const response = await post(body, { 'content-type': type })
    expect(response.status).toBe(415)
    expect(await response.json()).toMatchObject(badInput('unsupported_media_type'))
  })

  test.each([
    ['application/json', JSON_TYPE],
    ['*/*', JSON_TYPE],
    ['', JSON_TYPE],
    ['Application/JSON', JSON_TYPE],
    ['text/html, application/json; charset="UTF-8"; q=0.1', JSON_TYPE],
    ['application/graphql-response+json;q=0, application/json;q=0.5', JSON_TYPE],
    ['text/html, application/*', JSON_TYPE],
    ['text/event-stream;q=0.0, */*', JSON_TYPE],
    ['text/event-stream', 'text/event-stream'],
    ['text/*', 'text/event-stream'],
    ['multipart/mixed', 'multipart/mixed; boundary="-"'],
    ['application/graphql-response+json', 'application/graphql-response+json; charset=utf-8'],
    ['application/graphql-response+json, application/json;q=0.5', 'application/graphql-response+json; charset=utf-8'],
  ])('answers %s with %s', async (accept, type) => {
    const response = await post(JSON.stringify({ query: ME }), { accept })
    expect(response.headers.get('content-type')).toBe(type)
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  test.each([
    ['no JSON', '{"query":', 400],
    ['nothing', '', 400],
    ['null', 'null', 400],
    ['a list: batching is off', JSON.stringify([{ query: ME }]), 400],
    ['a query that is no text', JSON.stringify({ query: 5 }), 400],
    ['variables that are a list', JSON.stringify({ query: ME, variables: [1] }), 400],
    ['no query', '{}', 400],
    ['an operation that is not in the document', JSON.stringify({ query: ME, operationName: 'Other' }), 400],
    ['several operations, and no name', JSON.stringify({ query: `query A ${ME} query B ${ME}` }), 400],
  ])('refuses %s', async (_, body, status) => {
    const response = await post(body)
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
  })

  test('ignores keys that it does not know, whatever way the request takes', async () => {
    const body = JSON.stringify({ query: ME, id: 7, extensions: null })
    for (const accept of ['application/json', 'application/json;q=0.9']) {
      expect(await (await post(body, { accept })).json()).toEqual({ data: { me: null } })
    }
    const withExtensions = JSON.stringify({ query: ME, extensions: { trace: true }, id: 7 })
    expect(await (await post(withExtensions)).json()).toEqual({ data: { me: null } })
  })

  test('takes bodies of up to 100 KB', async () => {
    const body = (bytes: number) => {
      const start = `{"query":"${ME}","padding":"`
      return `${start}${'x'.repeat(bytes - start.length - 2)}"}`
    }
    expect((await post(body(100 * 1024))).status).toBe(200)
    const refused = await post(body(100 * 1024 + 1))
    expect(refused.status).toBe(413)
    expect(await refused.json()).toMatchObject(badInput('too_large'))
  })
})

describe('GET /graphql', () => {
  test('answers a query', async () => {
    expect(await (await get(ME)).json()).toEqual({ data: { me: null } })
  })

  test('asks nothing for who would not take the answer', async () => {
    const asked = () => metric(app.url, 'graphql_operations_total{field="me",code="OK"}')
    const before = await asked()
    const response = await get(ME, { accept: 'image/png' })
    expect(response.status).toBe(406)
    expect(await response.json()).toMatchObject(badInput('not_acceptable'))
    expect(await asked()).toBe(before)
  })

  test('refuses a mutation', async () => {
    const { email } = app.newAccount()
    const input = `{ email: "${email}", password: "amber lantern over quiet harbour", termsAccepted: true, privacyPolicyAccepted: true }`
    const response = await get(`mutation { register(input: ${input}) { __typename } }`)
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('POST')
    expect(await app.mailsTo(email)).toEqual([])
  })

  test('shows GraphiQL to browsers, unless GRAPHIQL is false', async () => {
    const html = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
    expect((await get(ME, html)).headers.get('content-type')).toMatch(/^text\/html/)
    const { url } = await startApp({ env: { GRAPHIQL: 'false' } })
    const plain = await fetch(`${url}/graphql`, { headers: html })
    expect(plain.headers.get('content-type')).not.toMatch(/html/)
    expect(await plain.text()).not.toMatch(/graphiql/i)
  })
})

test('Variables that do not fit are a bad request where the media type is that of GraphQL, on every path', async () => {
  const body = JSON.stringify({ query: 'query ($first: Int!) { sessions(first: $first) { edges { cursor } } }' })
  const status = async (accept: string) => (await app.anonymous.post(body, { accept })).status
  const type = 'application/graphql-response+json'
  expect([await status(type), await status(`${type};q=0.9`), await status('application/json')]).toEqual([400, 400, 200])
})

describe('introspection', () => {
  test('tells the schema, as does /schema.graphql', async () => {
    const { data } = (await (await get('{ __schema { queryType { name } } }')).json()) as { data: unknown }
    expect(data).toEqual({ __schema: { queryType: { name: 'Query' } } })
    expect(await (await fetch(`${app.url}/schema.graphql`)).text()).toBe(printContract())
  })

  test.each([
    ['INTROSPECTION=false', { INTROSPECTION: 'false' }],
    ['production', { NODE_ENV: 'production', SMTP_URL: 'smtp://127.0.0.1:9', PUBLIC_URL: 'https://auth.example.com' }],
  ])('is off with %s: on every transport', async (_, env) => {
    const { anonymous, url } = await startApp({ env })
    for (const query of ['{ __schema { description } }', '{ __type(name: "User") { name } }']) {
      const { data, errors } = await anonymous.post(JSON.stringify({ query }))
      expect({ data, codes: errors.map(({ extensions }) => extensions.code) }).toMatchObject({
        codes: ['BAD_USER_INPUT'],
      })
      const socket = await openSocket(url)
      expect((await socket.ask(query)).errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }])
    }
    expect((await fetch(`${url}/schema.graphql`)).status).toBe(404)
    expect((await anonymous.post(JSON.stringify({ query: '{ __typename }' }))).data).toEqual({ __typename: 'Query' })
  })
})

describe('a document that is too complex', () => {
  const introspect = (depth: number) =>
    `{ __schema { types { ${'fields { type { '.repeat(depth)} name ${'} } '.repeat(depth)} } } }`
  test.each([
    ['has more than 1500 tokens', `{ ${'me { id } '.repeat(400)} }`],
    ['is nested 5000 deep', `${'{ me '.repeat(5000)}${'}'.repeat(5000)}`],
    ['has a value nested 5000 deep', `{ me(a: ${'['.repeat(5000)}${']'.repeat(5000)}) { id } }`],
    ['introspects in circles', introspect(30)],
  ])('%s, and is refused on every transport', async (_, query) => {
    const expected = [{ extensions: { code: 'QUERY_TOO_COMPLEX' } }]
    const body = JSON.stringify({ query })
    expect(await app.anonymous.post(body)).toMatchObject({ status: 200, errors: expected })
    const spec = await app.anonymous.post(body, { accept: 'application/graphql-response+json' })
    expect(spec).toMatchObject({ status: 400, errors: expected })
    const stream = await openStream(app.url, {}, query)
    expect((await stream.next()).errors).toMatchObject(expected)
    const socket = await openSocket(app.url)
    expect((await socket.ask(query)).errors).toMatchObject(expected)
  })
})

test('The audit suite of GraphQL over HTTP finds nothing to complain of', async () => {
  const results = await Promise.all(serverAudits({ url: ENDPOINT, fetchFn: fetch }).map(({ fn }) => fn()))
  expect(results.length).toBeGreaterThan(60)
  const complaints = results.filter(({ status }) => status !== 'ok').map(({ status, name }) => `${status}: ${name}`)
  expect(complaints).toEqual([])
})
