import { isIP } from 'node:net'
import { type CityResponse, open } from 'maxmind'
import type { GeoLocator, Log, Place } from '../ports.js'

const NOWHERE: Place = { city: null, country: null }

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
      return { city: found?.city?.names?.en ?? null, country: found?.country?.iso_code ?? null }
    },
    coordinates: (ipAddress) => {
      const { latitude, longitude, accuracy_radius: accuracyKm } = find(ipAddress)?.location ?? {}
      return latitude === undefined || longitude === undefined
        ? null
        : { latitude, longitude, accuracyKm: accuracyKm ?? 0 }
    },
  }
}
