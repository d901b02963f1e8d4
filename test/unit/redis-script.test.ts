import { expect, test, vi } from 'vitest'
import { createScript } from '../../src/infra/redis.js'

const clientThat = (refuses: string) => ({
  evalsha: vi.fn(() => Promise.reject(new Error(refuses))),
  eval: vi.fn(async () => 'done'),
})

test('A script that the server does not know is sent as a text', async () => {
  const client = clientThat('NOSCRIPT No matching script.')
  expect(await createScript('return 1')(client as never, ['key'], [7])).toBe('done')
  expect(client.eval).toHaveBeenCalledExactlyOnceWith('return 1', 1, 'key', 7)
})

test('A script that has failed otherwise, and may have been executed, is not sent again', async () => {
  const client = clientThat('Command timed out')
  await expect(createScript('return 1')(client as never, [], [])).rejects.toThrow('Command timed out')
  expect(client.eval).not.toHaveBeenCalled()
})
