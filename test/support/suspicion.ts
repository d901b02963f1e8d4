// What people do that looks suspicious, and what of it was raised.

import { NEXT_PASSWORD, type TestApp } from './app.js'
import { type Alarm, alarmsIn } from './detection.js'
import { LoginDocument, RequestPasswordResetDocument } from './generated/graphql.js'
import { makePlaces } from './geoip.js'
import type { User } from './user.js'

/** Settings under which every rule judges, for the file that asks. */
export const watchful = () => ({ DETECTION_RULES: '', GEOIP_DATABASE: makePlaces(), LOCKOUT_THRESHOLD: '6' })

export const from = (address: string) => ({ 'x-forwarded-for': address })
export const addresses = (count: number, network: string) =>
  Array.from({ length: count }, (_, index) => `${network}${index + 1}`)

export const guess = (at: TestApp, identifier: string, address: string) =>
  at.anonymous.with(from(address)).call(LoginDocument, { input: { identifier, password: NEXT_PASSWORD } })

export async function guessOften(at: TestApp, identifier: string, address: string, times: number): Promise<void> {
  for (let time = 1; time <= times; time += 1) await guess(at, identifier, address)
}

export const requestReset = (at: TestApp, email: string, address: string) =>
  at.anonymous.with(from(address)).call(RequestPasswordResetDocument, { input: { email } })

export const alarmsOf = (at: TestApp, { id }: User): Promise<Alarm[]> => alarmsIn(at, { userId: id })
export const rulesOf = async (at: TestApp, user: User) => (await alarmsOf(at, user)).map(({ rule }) => rule)
/** Those that are about an address. */
export const rulesAt = async (at: TestApp, ipAddress: string) =>
  (await alarmsIn(at, { ipAddress })).filter(({ event }) => !event.userId).map(({ rule }) => rule)
export const subjectsTo = async (at: TestApp, { email }: User) =>
  (await at.mailsTo(email)).map(({ subject }) => subject)

let addressCount = 0
/** An address that no other test of the file uses. */
export function newAddress(): string {
  addressCount += 1
  return `198.18.0.${addressCount}`
}
