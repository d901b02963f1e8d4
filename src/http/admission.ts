import { ServiceUnavailableError } from '../errors.js'
import type { Exchange } from './exchange.js'
import { sendFailure } from './failures.js'
import type { Gate } from './gate.js'
import type { ErrorMasker } from './graphql-errors.js'

export interface Admission {
  /** Refuses the request, and says so, when too much is under way; counts nothing. For what a slow client sends first. */
  turnsAway(exchange: Exchange): boolean
  /** Does the work, which counts as under way until it has ended; refuses, and gives null, when there is too much. */
  admit<T>(exchange: Exchange, work: () => Promise<T> | T): Promise<T | null>
}

/** Sheds load: past the gate, requests are answered SERVICE_UNAVAILABLE at once. */
export function createAdmission(gate: Gate, maskError: ErrorMasker): Admission {
  const refuse = (exchange: Exchange) => sendFailure(exchange, maskError(new ServiceUnavailableError('MAX_IN_FLIGHT')))

  return {
    turnsAway(exchange) {
      if (gate.isFull()) refuse(exchange)
      return gate.isFull()
    },

    async admit(exchange, work) {
      const ticket = gate.take()
      if (!ticket) {
        refuse(exchange)
        return null
      }
      exchange.ticket = ticket
      try {
        return await work()
      } finally {
        ticket.end()
      }
    },
  }
}
