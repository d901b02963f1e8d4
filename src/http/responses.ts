import type { IncomingMessage } from 'node:http'
import type { GraphQLError } from 'graphql'
import type { Head } from './head.js'
import { CRUMB_BYTES, MAX_CRUMBS } from './request.js'

/** Sends a whole body at once. No content type: the head has it already, or there is no body. */
export function send(head: Head, status: number, contentType: string | null, body: string): void {
  const bytes = Buffer.byteLength(body)
  if (contentType) head.set('content-type', contentType)
  head.set('content-length', bytes)
  // As many bytes as characters: it is all ASCII, which goes out without being looked at sign by sign.
  head.send(status, body, bytes === body.length ? 'latin1' : 'utf8')
}

export const sendJson = (head: Head, status: number, body: unknown): void =>
  send(head, status, 'application/json; charset=utf-8', JSON.stringify(body))

/** A refusal of the edge, in the form that GraphQL clients read. */
export const sendError = (head: Head, status: number, error: GraphQLError): void =>
  sendJson(head, status, { errors: [error] })

/** So many pieces are kept apart. */
const MAX_PIECES = 64

/** Reads a body. Null when it is longer than the limit, or comes in crumbs; the rest of it is then thrown away. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | null> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.resolve(null)
  // By events: on this path an async iterator would cost more than all of the reading.
  return new Promise((resolve, reject) => {
    let pieces: Buffer[] = []
    let size = 0
    let crumbs = 0
    const joined = () => (pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces))
    const take = (piece: Buffer) => {
      size += piece.length
      if (piece.length < CRUMB_BYTES) crumbs += 1
      if (size > maxBytes || crumbs > MAX_CRUMBS) {
        pieces = []
        return resolve(null)
      }
      pieces.push(piece)
      if (pieces.length === MAX_PIECES) pieces = [joined()]
    }
    request.on('data', take)
    request.on('end', () => resolve(joined()))
    request.on('error', reject)
    request.on('close', () => {
      if (!request.complete) reject(new Error('The request ended before its body'))
    })
  })
}
