import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'

export interface Answer {
  status: number
  body: string
}

const END_OF_HEAD = Buffer.from('\r\n\r\n')
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** The first answer in the bytes; null while it is not complete. Chunk sizes may stay in a body: nobody parses it here. */
function readAnswer(bytes: Buffer): Answer | null {
  const headEnd = bytes.indexOf(END_OF_HEAD)
  if (headEnd < 0) return null
  const head = bytes.toString('latin1', 0, headEnd)
  const status = Number(head.slice(9, 12))
  const bodyStart = headEnd + END_OF_HEAD.length
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  if (length === undefined) {
    const isWhole = bytes.length > bodyStart && bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK)
    return isWhole ? { status, body: bytes.toString('utf8', bodyStart) } : null
  }
  const end = bodyStart + Number(length)
  return bytes.length >= end ? { status, body: bytes.toString('utf8', bodyStart, end) } : null
}

/**
 * One kept-alive HTTP/1.1 connection that carries one request at a time. Far cheaper than node:http's client, which would
 * take as much of the machine as the server that it is to measure.
 */
export class HttpConnection {
  private readonly socket: Socket
  private received: Buffer[] = []
  private settle: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.onData(chunk))
    socket.on('error', (error) => this.fail(error))
    socket.on('close', () => this.fail(new Error('The connection was closed')))
  }

  static async open(port: number): Promise<HttpConnection> {
    const socket = createConnection({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    return new HttpConnection(socket)
  }

  send(request: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
      if (this.socket.destroyed) this.fail(new Error('The connection was closed'))
      else this.socket.write(request)
    })
  }

  close(): void {
    this.socket.destroy()
  }

  private onData(chunk: Buffer): void {
    this.received.push(chunk)
    const answer = readAnswer(this.received.length === 1 ? chunk : Buffer.concat(this.received))
    if (!answer) return
    const { settle } = this
    this.received = []
    this.settle = null
    settle?.resolve(answer)
  }

  private fail(error: Error): void {
    const { settle } = this
    this.settle = null
    settle?.reject(error)
  }
}

/** A GraphQL request as it goes over the wire. */
export function toWire(port: number, body: string, token?: string): string {
  const head = [
    'POST /graphql HTTP/1.1',
    `host: 127.0.0.1:${port}`,
    'accept: application/json',
    'content-type: application/json',
    'user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    `content-length: ${Buffer.byteLength(body)}`,
    ...(token ? [`authorization: Bearer ${token}`] : []),
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
