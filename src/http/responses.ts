import type { IncomingMessage } from 'node:http'
import type { GraphQLError } from 'graphql'
import type { Head } from './head.js'

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
export const sendErrors = (head: Head, status: number, ...errors: GraphQLError[]): void =>
  sendJson(head, status, { errors })

/** Reads a body. Null when it is longer than the limit; the rest of it is then not read. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | null> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.resolve(null)
  // By events: on this path an async iterator would cost more than all of the reading.
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > maxBytes) {
        request.pause()
        resolve(null)
      } else chunks.push(chunk)
    })
    request.on('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)))
    request.on('error', reject)
    request.on('close', () => {
      if (!request.complete) reject(new Error('The request ended before its body'))
    })
  })
}
