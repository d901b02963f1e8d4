import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { ChangePasswordDocument, LoginDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'
import { openRawSocket } from '../support/streams.js'

const app = await startApp({ env: { LOCKOUT_THRESHOLD: '1000' } })
const ada = await app.newUser()

const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { node { type } } }'
const TIMES = 10
const subscribe = (id: string, query: string) => ({ id, type: 'subscribe', payload: { query } })
const complete = (id: string) => ({ id, type: 'complete' })
const subscribers = () => metric(app.url, 'event_subscribers')

async function begin({ accessToken } = ada) {
  const socket = await openRawSocket(app.url)
  socket.send({ type: 'connection_init', payload: { authorization: `Bearer ${accessToken}` } })
  expect(await socket.next()).toEqual({ type: 'connection_ack' })
  return socket
}

// Nothing keeps clients from using an id again as soon as they have completed it.
test('An id that is used again while its subscription begins has one stream, which ends when it is completed', async () => {
  const socket = await begin()
  for (let time = 0; time < TIMES; time += 1) {
    for (let use = 0; use < 3; use += 1) {
      socket.send(subscribe(`${time}`, ALERTS))
      if (use < 2) socket.send(complete(`${time}`))
    }
  }
  socket.send(subscribe('last', '{ __typename }'))
  await eventually(() => socket.received).toContainEqual(complete('last'))
  await eventually(subscribers).toBe(TIMES)
  socket.received.length = 0
  await app.anonymous.call(LoginDocument, { input: { identifier: ada.email, password: 'not the password' } })
  const ids = () => (socket.received as { id: string }[]).map(({ id }) => id).sort()
  await eventually(ids).toEqual(Array.from({ length: TIMES }, (_, time) => `${time}`))
  for (let time = 0; time < TIMES; time += 1) socket.send(complete(`${time}`))
  await eventually(subscribers).toBe(0)
})

test('An id that is used again beside its stream has the second one', async () => {
  const socket = await begin()
  for (let use = 0; use < TIMES; use += 1) {
    socket.send(subscribe('1', ALERTS))
    await eventually(subscribers).toBe(1)
    socket.send(complete('1'))
  }
  socket.send(subscribe('1', ALERTS))
  socket.send(subscribe('last', '{ __typename }'))
  await eventually(() => socket.received).toContainEqual(complete('last'))
  await eventually(subscribers).toBe(1)
  expect(socket.received).not.toContainEqual(complete('1'))
})

/** Gives a query up that is being executed, and asks another one by its id. */
async function askTwice({ send }: Awaited<ReturnType<typeof begin>>): Promise<void> {
  const lock = await lockDatabase(app.installation, 'LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
  send(subscribe('1', '{ first: me { id } }'))
  await lock.untilWaiting(1)
  send(complete('1'))
  send(subscribe('1', '{ second: me { id } }'))
  await lock.untilWaiting(2)
  await lock.release()
}

test('An id that is used again while its query is executed has only the second answer', async () => {
  const socket = await begin()
  await askTwice(socket)
  expect(await socket.next()).toMatchObject({ id: '1', payload: { data: { second: { id: ada.id } } } })
  expect(await socket.next()).toEqual(complete('1'))
})

test('An id that is used again while its operation is refused has only the second answer', async () => {
  const socket = await begin()
  for (let time = 0; time < TIMES; time += 1) {
    socket.send(subscribe('1', '{ wrong }'))
    socket.send(complete('1'))
    socket.send(subscribe('1', '{ me { id } }'))
    await eventually(() => socket.received).toContainEqual(complete('1'))
    const nexts = (socket.received.splice(0) as { type: string }[]).filter(({ type }) => type === 'next')
    expect(nexts).toMatchObject([{ id: '1', payload: { data: { me: { id: ada.id } } } }])
  }
})

test('An operation whose id was used again keeps no connection whose token is good no more', async () => {
  const user = await app.newUser()
  const socket = await begin(user)
  await askTwice(socket)
  await eventually(() => socket.received).toContainEqual(complete('1'))
  const input = { currentPassword: user.password, newPassword: NEXT_PASSWORD }
  expectType(await user.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  socket.send(subscribe('2', '{ me { id } }'))
  expect(await socket.closing).toMatchObject({ code: 4401 })
})
