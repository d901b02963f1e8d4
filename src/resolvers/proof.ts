import type { ProofInput } from '../schema/registration.js'
import type { Proof } from '../services/one-time-tokens.js'

/** The proof of a mail, from an input that was validated to hold exactly one. */
export const toProof = ({ token, email, code }: ProofInput): Proof =>
  token != null ? { token } : { email: email ?? '', code: code ?? '' }
