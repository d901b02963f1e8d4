import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { UpdateProfileDocument } from '../support/generated/graphql.js'

const app = await startApp()
const ada = await app.newUser()

const RENAME = 'mutation { updateProfile(input: { firstName: "Eve" }) { __typename } }'
const rename = (more: object = {}) => JSON.stringify({ query: RENAME, ...more })
const pathsOf = (issues: { path: string[] }[] = []) => issues.map(({ path }) => path.join('.'))

async function expectNothingChanged(act: () => Promise<void>): Promise<void> {
  const before = await ada.state()
  await act()
  expect(await ada.state()).toEqual(before)
}

describe('a value that its type does not have is bad input, with its path', () => {
  test.each<[string, string, object | undefined, string]>([
    ['an unknown enum value', '{ auditLog(scope: ALL) { edges { cursor } } }', undefined, 'scope'],
    ['an enum value as text', '{ auditLog(scope: "MINE") { edges { cursor } } }', undefined, 'scope'],
    [
      'an unknown enum value within a filter',
      '{ auditLog(filter: { types: [REGISTERED, NOTHING] }) { edges { cursor } } }',
      undefined,
      'filter.types',
    ],
    [
      'an unknown enum value in a variable',
      'query ($scope: AuditScope!) { auditLog(scope: $scope) { edges { cursor } } }',
      { scope: 'ALL' },
      'scope',
    ],
    [
      'an unknown enum value within a variable',
      'mutation ($input: LoginInput!) { login(input: $input) { __typename } }',
      { input: { identifier: 'ada', password: 'x', tokenDelivery: 'PIGEON' } },
      'input.tokenDelivery',
    ],
    [
      'a number where text belongs',
      'mutation ($input: LoginInput!) { login(input: $input) { __typename } }',
      { input: { identifier: 1, password: 'x' } },
      'input.identifier',
    ],
    [
      'a field that is missing',
      'mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { __typename } }',
      {},
      'input',
    ],
    [
      'a field that there is not',
      'mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { __typename } }',
      { input: { firstName: 'Eve', role: 'admin' } },
      'input.role',
    ],
    [
      'an unknown enum value within a list of a variable',
      'query ($filter: AuditLogFilter) { auditLog(filter: $filter) { edges { cursor } } }',
      { filter: { types: ['REGISTERED', 'NOTHING'] } },
      'filter.types.1',
    ],
    [
      'an unknown enum value in a variable of another name',
      'mutation ($x: LoginInput!) { login(input: $x) { __typename } }',
      { x: { identifier: 'ada', password: 'x', tokenDelivery: 'PIGEON' } },
      'input.tokenDelivery',
    ],
    [
      'an unknown enum value in a variable for a field of an argument',
      'mutation ($td: TokenDelivery) { login(input: { identifier: "a", password: "b", tokenDelivery: $td }) { __typename } }',
      { td: 'PIGEON' },
      'input.tokenDelivery',
    ],
    [
      'a variable that is used in a fragment only',
      'query ($p: Int!) { ...F } fragment F on Query { sessions(first: $p) { edges { cursor } } }',
      {},
      'first',
    ],
    [
      'a field that is missing in a variable',
      'mutation ($x: LoginInput!) { login(input: $x) { __typename } }',
      { x: { identifier: 'ada' } },
      'input.password',
    ],
    [
      'a field that is missing in the document',
      'mutation { login(input: { identifier: "ada" }) { __typename } }',
      undefined,
      'input.password',
    ],
    [
      'a field of the document that there is not',
      'mutation { updateProfile(input: { role: "admin" }) { __typename } }',
      undefined,
      'input.role',
    ],
    ['an argument that is missing', 'mutation { updateProfile { __typename } }', undefined, 'input'],
    ['text where a number belongs', '{ sessions(first: "2") { edges { cursor } } }', undefined, 'first'],
  ])('%s', async (_, query, variables, path) => {
    await expectNothingChanged(async () => {
      const refusal = await ada.refusal(query, variables)
      expect(refusal.code).toBe('BAD_USER_INPUT')
      expect(pathsOf(refusal.extensions.issues)).toEqual([path])
    })
  })
})

describe('a request that is no GraphQL is bad input, and changes nothing', () => {
  test.each<[what: string, body: string, headers: Record<string, string>, status?: number]>([
    ['a body of over 100 KB', rename({ variables: { filler: 'x'.repeat(102_400) } }), {}, 413],
    ['a form', `query=${encodeURIComponent(RENAME)}`, { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['plain text', rename(), { 'content-type': 'text/plain' }, 415],
    ['JSON that calls itself text', rename(), { 'content-type': 'text/plain; x=application/json' }, 415],
    ['another kind of JSON', rename(), { 'content-type': 'application/json-seq' }, 415],
    ['a bare query', RENAME, { 'content-type': 'application/graphql' }, 415],
    ['multipart', '--x--', { 'content-type': 'multipart/form-data; boundary=x' }, 415],
    ['no content type', rename(), { 'content-type': '' }, 415],
    ['who takes nothing but a page', rename(), { accept: 'text/html' }, 406],
    ['who takes nothing but XML', rename(), { accept: 'application/xml, text/xml;q=0.9' }, 406],
    ['who takes anything but JSON', rename(), { accept: 'application/json;q=0, application/*;q=0.0' }, 406],
    ['who takes nothing', rename(), { accept: ',' }, 406],
    ['who takes a hundred other things first', rename(), { accept: `${'a/b,'.repeat(100)}application/json` }, 406],
    ['JSON that ends too soon', rename().slice(0, -1), {}, 400],
    ['an empty body', '', {}, 400],
    ['a number', '1', {}, 400],
    ['null', 'null', {}, 400],
    ['no query', '{}', {}, 400],
    ['variables without a query', '{"variables":{}}', {}, 400],
    ['a query that is a number', '{"query":1}', {}, 400],
    ['a list of operations', `[${rename()},${rename()}]`, {}, 400],
    ['variables that are a list', rename({ variables: ['x'] }), {}, 400],
    ['a query that cannot be read', JSON.stringify({ query: 'mutation { updateProfile(' }), {}],
    ['a query of a field that there is not', JSON.stringify({ query: '{ passwordHash }' }), {}],
    ['an operation that the document has not', rename({ operationName: 'Missing' }), {}],
  ])('%s', async (_, body, headers, status) => {
    await expectNothingChanged(async () => {
      const answer = await ada.post(body, headers)
      expect(answer.data ?? null).toBeNull()
      expect(answer.errors.map(({ extensions }) => extensions?.code)).toEqual(['BAD_USER_INPUT'])
      if (status) expect(answer.status).toBe(status)
      if (status === 400) expect(answer.headers.get('allow')).toBeNull()
    })
  })

  test('the same as a well-formed request does change something', async () => {
    const answer = await ada.post(rename(), { 'content-type': 'application/json; charset=utf-8' })
    expect(answer.data).toEqual({ updateProfile: { __typename: 'UpdateProfileSuccess' } })
  })
})

test.each(['variables', 'extensions'])('a parameter %s of a GET that is not JSON is bad input', async (name) => {
  const url = `${app.url}/graphql?query={__typename}&${name}=x`
  const response = await fetch(url, { headers: { accept: 'application/json' } })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
})

test('a mutation by GET is refused, and changes nothing', async () => {
  await expectNothingChanged(async () => {
    const url = `${app.url}/graphql?query=${encodeURIComponent(RENAME)}`
    const headers = { authorization: `Bearer ${ada.accessToken}`, accept: 'application/json' }
    const response = await fetch(url, { headers })
    expect(response.status).toBe(405)
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
  })
})

test.each([
  ['nested deeper than any answer', `{ ${'me { currentSession { id '.repeat(400)}${'} }'.repeat(400)} }`],
  ['of more words than any question', `{ ${'me { id } '.repeat(2000)} }`],
])('a document %s is too complex', async (_, query) => {
  expect((await ada.refusal(query)).code).toBe('QUERY_TOO_COMPLEX')
})

test('text is kept exactly as it came, whatever it looks like', async () => {
  const firstName = `Robert'); DROP TABLE users;-- <script>alert(1)</script> \${x} %00 🐎 ñ`
  const result = await ada.call(UpdateProfileDocument, { input: { firstName } })
  expect(result).toMatchObject({ __typename: 'UpdateProfileSuccess', user: { firstName } })
})

test('An issue leads into the operation that was to be executed, whatever others call their variables', async () => {
  const query = `
    query A($x: Int!) { sessions(first: $x) { edges { cursor } } }
    mutation B($x: LoginInput!) { login(input: $x) { __typename } }`
  const body = { query, operationName: 'B', variables: { x: { identifier: 'ada' } } }
  const { errors } = await app.anonymous.post(JSON.stringify(body))
  expect(errors.map(({ extensions }) => pathsOf(extensions.issues as { path: string[] }[]))).toEqual([
    ['input.password'],
  ])
})
