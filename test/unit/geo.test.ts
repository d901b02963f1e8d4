import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openGeoLocator } from '../../src/infra/geo.js'
import { AT, makePlaces } from '../support/geoip.js'
import { createTestLog } from '../support/log.js'

const path = makePlaces()

test('In a database of IPv4 an IPv6 address is nowhere, though its first bits are those of one in Vienna', async () => {
  const log = createTestLog()
  const geo = await openGeoLocator(path, log)
  expect(geo.locate(AT.vienna)).toEqual({ city: 'Vienna', country: 'AT' })
  expect(geo.coordinates(AT.vienna)).toEqual({ latitude: 48.2, longitude: 16.37, accuracyKm: 20 })
  for (const address of ['cb00:7107::1', 'unknown', '']) {
    expect(geo.locate(address)).toEqual({ city: null, country: null })
    expect(geo.coordinates(address)).toBeNull()
  }
  expect(log.problems).toEqual([])
})

test('A database that is damaged knows fewer places, says so once, and fails nobody', async () => {
  const bytes = readFileSync(path)
  const [from, to] = [bytes.indexOf('Vienna'), bytes.indexOf('\xab\xcd\xefMaxMind.com', 0, 'latin1')]
  writeFileSync(path, bytes.fill(0xff, from, to))
  const log = createTestLog()
  const geo = await openGeoLocator(path, log)
  for (const address of Object.values(AT)) {
    expect(geo.locate(address)).toEqual({ city: null, country: null })
    expect(geo.coordinates(address)).toBeNull()
  }
  expect(log.problems.map(({ message }) => message)).toEqual(['GEOIP_DATABASE is damaged: some places are unknown'])
})
