import { request as openRequest } from 'node:http'
import { print } from 'graphql'
import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { RegisterDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'

const ME = '{ me { id } }'

describe('under more load than it can take, the server', () => {
  test('sheds requests past MAX_IN_FLIGHT at once, and answers those under way', async () => {
    const { url, anonymous } = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
    const body = JSON.stringify({ query: ME })
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    const slow = openRequest(`${url}/graphql`, { method: 'POST', headers })
    const answered = new Promise<number>((resolve) =>
      slow.once('response', ({ statusCode }) => resolve(statusCode ?? 0)),
    )
    slow.write(body.slice(0, 5))
    // Its headers have to arrive first.
    await eventually(async () => (await anonymous.post(body)).status).toBe(503)
    const refused = await anonymous.refusal(ME)
    expect(refused).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE', extensions: { retryAfter: 1 } })
    expect(refused.headers.get('retry-after')).toBe('1')
    slow.end(body.slice(5))
    expect(await answered).toBe(200)
    await eventually(async () => (await anonymous.post(body)).status).toBe(200)
  })

  test('turns away passwords past HASH_QUEUE_LENGTH, and works on as before afterwards', async () => {
    const slowHashes = { PASSWORD_HASH_MEMORY_KIB: '65536', PASSWORD_HASH_ITERATIONS: '10' }
    const server = await startApp({ env: { ...slowHashes, HASH_QUEUE_LENGTH: '1' } })
    const { anonymous, url, newAccount } = server
    const logIn = 'mutation { login(input: { identifier: "nobody@example.com", password: "x" }) { __typename } }'
    const registerOne = () =>
      anonymous.post(JSON.stringify({ query: print(RegisterDocument), variables: { input: newAccount() } }))
    const registering = Promise.all(Array.from({ length: 10 }, registerOne))
    await eventually(() => metric(url, 'hash_queue_depth')).toBe(1)
    // The first one ever: nothing of it may be remembered.
    const refused = await anonymous.refusal(logIn)
    const answers = await registering
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0)
    for (const { status, errors, headers } of [{ ...refused, errors: [refused] }, ...answers]) {
      if (status === 200) continue
      expect(status).toBe(503)
      expect(errors).toMatchObject([{ extensions: { code: 'SERVICE_UNAVAILABLE', retryAfter: 1 } }])
      expect(headers.get('retry-after')).toBe('1')
    }
    const { data } = await anonymous.post(JSON.stringify({ query: logIn }))
    expect(data).toEqual({ login: { __typename: 'InvalidCredentialsError' } })
  })
})
