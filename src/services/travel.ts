import type { Coordinates, GeoLocator } from '../ports.js'
import type { Finding } from './detection-statements.js'

/** Less is within what databases of places get wrong. */
const MIN_TRAVEL_KM = 100
const SHORTEST_HOURS = 1 / 3600
const EARTH_RADIUS_KM = 6371
const radians = (degrees: number): number => (degrees * Math.PI) / 180

/** The least distance in kilometres between two places that are known so accurately: along a great circle (haversine). */
function kilometresBetween(from: Coordinates, to: Coordinates): number {
  const [latitude, longitude] = [radians(to.latitude - from.latitude), radians(to.longitude - from.longitude)]
  const cosines = Math.cos(radians(from.latitude)) * Math.cos(radians(to.latitude))
  const chord = Math.sin(latitude / 2) ** 2 + cosines * Math.sin(longitude / 2) ** 2
  const distance = 2 * EARTH_RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(chord)))
  return Math.max(0, distance - from.accuracyKm - to.accuracyKm)
}

/** How far and how fast it would have been; null where that is possible, or unknown. */
export function judgeTravel(finding: Finding, geo: GeoLocator): Finding | null {
  const { from, to, city, country, seconds, limit } = finding.metadata as Record<string, string>
  const [start, end] = [geo.coordinates(from ?? ''), geo.coordinates(to ?? '')]
  if (!start || !end) return null
  const kilometres = Math.round(kilometresBetween(start, end))
  const hours = Math.max(SHORTEST_HOURS, Number(seconds) / 3600)
  if (kilometres < MIN_TRAVEL_KM || kilometres / hours <= Number(limit)) return null
  return { ...finding, metadata: { kilometres, minutes: Math.round(hours * 60), from: { city, country } } }
}
