import { expect, test } from 'vitest'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { createDevices } from '../../src/services/devices.js'
import { createTestClock } from '../support/clock.js'

test('The devices of an account count together until one has not signed in for a year', async () => {
  const clock = createTestClock()
  const keys = createKeyRings(['a-secret-key-of-this-test-that-is-no-secret'])('device')
  const devices = createDevices({ clock, keys })
  const account = { id: 'ada', email: 'ada@example.com', username: null, passwordChangedAt: clock.now() }
  const { value = null } = devices.remember(null, account) ?? {}
  const group = () => devices.groupOf(value, account.email, async () => account)
  clock.advance('364d')
  expect(await group()).toContain('devices of ada')
  clock.advance('1d')
  expect(await group()).toBeNull()
})
