import type { ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'

type Value = string | number

/** The head of a response while it is put together; `writeHead` takes all of it at once. Names are in lower case. */
export class Head {
  private readonly response: ServerResponse
  /** Names and values in turn: the form that costs node:http least. */
  private readonly fields: Value[]

  constructor(response: ServerResponse, fields: readonly Value[]) {
    this.response = response
    this.fields = [...fields]
  }

  get isSent(): boolean {
    return this.response.headersSent
  }

  set(name: string, value: Value): void {
    let index = 0
    while (index < this.fields.length && this.fields[index] !== name) index += 2
    this.fields[index] = name
    this.fields[index + 1] = value
  }

  /** Adds a cookie to those that are set already. */
  addCookie(cookie: string): void {
    this.fields.push('set-cookie', cookie)
  }

  /** Sends the head and, if there is one, the whole body. */
  send(status: number, body?: string, encoding: BufferEncoding = 'utf8'): void {
    this.response.writeHead(status, this.fields)
    this.response.end(body, encoding)
  }

  /** Sends the head, and the body as it comes, for as long as somebody reads it. */
  async stream(status: number, body: ReadableStream<Uint8Array>): Promise<void> {
    if (this.response.destroyed) return body.cancel()
    this.response.writeHead(status, this.fields)
    this.response.flushHeaders()
    await pipeline(body, this.response).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
    })
  }
}
