// The yardstick: Yoga with its default settings and nothing behind it. Plain JavaScript, so that nothing stands between it
// and Node. Answers any message with its port and the CPU time it has used.
import { createServer } from 'node:http'
import { createSchema, createYoga } from 'graphql-yoga'

const schema = createSchema({
  typeDefs: 'type Query { hello: String! }',
  resolvers: { Query: { hello: () => 'world' } },
})
const server = createServer(createYoga({ schema }))
const listening = new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))

process.on('message', async () => {
  await listening
  const { user, system } = process.cpuUsage()
  process.send?.({
    port: /** @type {import('node:net').AddressInfo} */ (server.address()).port,
    cpuMs: (user + system) / 1000,
  })
})
// The process that started it looks after Ctrl-C.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit())
