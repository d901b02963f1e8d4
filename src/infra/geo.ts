import { isIP } from 'node:net'
import { type CityResponse, open } from 'maxmind'
import type { GeoLocator, Log, Place } from '../ports.js'

const NOWHERE: Place = { city: null, country: null }
/** What the columns hold: of anything else in a record, nobody there could sign in. */
const CITY = /^[^\p{C}]{1,100}$/u
const COUNTRY = /^[A-Z]{2}$/

const textOf = (value: unknown, shape: RegExp) => (typeof value === 'string' && shape.test(value) ? value : null)
const isNumber = (value: unknown): value is number => Number.isFinite(value)

/**
 * Reads a city or country database in MaxMind's format into memory; without a path every place is unknown.
 * Rejects when the file is not such a database. Countries are ISO 3166-1 codes, cities English names.
 */
export async function openGeoLocator(path: string | undefined, log: Log): Promise<GeoLocator> {
  if (path === undefined) return { locate: () => NOWHERE, coordinates: () => null }
  const reader = await open<CityResponse>(path).catch(({ message }) => {
    throw new Error(`GEOIP_DATABASE: ${path} cannot be read as a MaxMind database: ${message}`)
  })
  let isDamaged = false

  function find(ipAddress: string): CityResponse | null {
    const version = isIP(ipAddress)
    // A database of IPv4 would read the first bits of an IPv6 address as one of its own.
    if (version === 0 || version > reader.metadata.ipVersion) return null
    try {
      return reader.get(ipAddress)
    } catch (error) {
      if (!isDamaged) log.error({ err: error }, 'GEOIP_DATABASE is damaged: some places are unknown')
      isDamaged = true
      return null
    }
  }

  return {
    locate: (ipAddress) => {
      const found = find(ipAddress)
      return { city: textOf(found?.city?.names?.en, CITY), country: textOf(found?.country?.iso_code, COUNTRY) }
    },
    coordinates: (ipAddress) => {
      const { latitude, longitude, accuracy_radius: accuracyKm } = find(ipAddress)?.location ?? {}
      return isNumber(latitude) && isNumber(longitude)
        ? { latitude, longitude, accuracyKm: isNumber(accuracyKm) ? accuracyKm : 0 }
        : null
    },
  }
}
