import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { connectPostgres } from '../../src/infra/postgres.js'
import { createTestLog } from '../support/log.js'

/** AuthenticationOk, ReadyForQuery. */
const WELCOME = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49])

/** A pool of one connection to a database that hears, and does with it what it is told. */
async function connectTo(onMessage: (socket: Socket, message: Buffer) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', (message) => onMessage(socket, message))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `postgresql://nobody@127.0.0.1:${(server.address() as AddressInfo).port}/none`
  const db = connectPostgres({ url, poolSize: 1, log: createTestLog(), onQuery: () => {} })
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => {
    vi.useRealTimers()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return db
}

/** What a statement is refused with, by its SQLSTATE, and that the next one may come. */
const refusal = (code: string) => {
  const fields = Buffer.from(`SERROR\0C${code}\0Mof this test\0\0`)
  const length = Buffer.alloc(4)
  length.writeInt32BE(fields.length + 4)
  return Buffer.concat([Buffer.from('E'), length, fields, WELCOME.subarray(-6)])
}

test.each([
  ['40001', 4],
  ['40P01', 4],
  ['23505', 1],
])('A statement that the database refuses with %s is tried %i times', async (code, times) => {
  let tried = 0
  const db = await connectTo((socket, message) => {
    if (message[0] === 0) return void socket.write(WELCOME)
    const isStatement = message.includes('SELECT 1')
    if (isStatement) tried += 1
    socket.write(isStatement ? refusal(code) : Buffer.concat([Buffer.from([0x49, 0, 0, 0, 4]), WELCOME.subarray(-6)]))
  })
  const failure = db.sql('SELECT 1', []).then(
    () => expect.fail('It has answered'),
    (error: unknown) => error,
  )
  vi.useRealTimers()
  expect(await failure).toMatchObject({ code })
  expect(tried).toBe(times)
})

test.each([
  ['lets nobody in', 0],
  ['lets in, and then says nothing more', 1],
])('A database that hears and %s is waited for five seconds', async (_, answers) => {
  let heard = 0
  const db = await connectTo((socket) => {
    heard += 1
    if (heard <= answers) socket.write(WELCOME)
  })
  const failure = db.sql('SELECT 1', []).then(
    () => expect.fail('It has answered'),
    (error: unknown) => error,
  )
  await vi.waitUntil(() => heard > answers)
  await vi.advanceTimersByTimeAsync(5_000)
  expect(db.isConnectionLost(await failure)).toBe(true)
})
