import type { Coordinates } from '../ports.js'

const EARTH_RADIUS_KM = 6371
const radians = (degrees: number): number => (degrees * Math.PI) / 180

/** The least distance in kilometres between two places that are known so accurately: along a great circle (haversine). */
export function kilometresBetween(from: Coordinates, to: Coordinates): number {
  const [latitude, longitude] = [radians(to.latitude - from.latitude), radians(to.longitude - from.longitude)]
  const cosines = Math.cos(radians(from.latitude)) * Math.cos(radians(to.latitude))
  const chord = Math.sin(latitude / 2) ** 2 + cosines * Math.sin(longitude / 2) ** 2
  const distance = 2 * EARTH_RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(chord)))
  return Math.max(0, distance - from.accuracyKm - to.accuracyKm)
}
