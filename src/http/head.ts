import type { ServerResponse } from 'node:http'

type Value = string | number

/** The head of a response while it is put together; `writeHead` takes all of it at once. Names are in lower case. */
export class Head {
  private readonly response: ServerResponse
  /** Names and values in turn: the form that costs node:http least. */
  private readonly fields: Value[]
  private isHandedOver = false

  constructor(response: ServerResponse, fields: readonly Value[]) {
    this.response = response
    this.fields = [...fields]
  }

  get isSent(): boolean {
    return this.response.headersSent
  }

  set(name: string, value: Value): void {
    if (this.isHandedOver) return void this.response.setHeader(name, value)
    let index = 0
    while (index < this.fields.length && this.fields[index] !== name) index += 2
    this.fields[index] = name
    this.fields[index + 1] = value
  }

  /** Adds a cookie to those that are set already. */
  addCookie(cookie: string): void {
    if (this.isHandedOver) this.response.appendHeader('set-cookie', cookie)
    else this.fields.push('set-cookie', cookie)
  }

  /** Lets another library send the response; what is set from now on goes to it directly. */
  handOver(): ServerResponse {
    for (let index = 0; index < this.fields.length; index += 2) {
      this.response.appendHeader(String(this.fields[index]), String(this.fields[index + 1]))
    }
    this.isHandedOver = true
    return this.response
  }

  /** Sends the head and, if there is one, the whole body. */
  send(status: number, body?: string, encoding: BufferEncoding = 'utf8'): void {
    if (this.isHandedOver) this.response.writeHead(status)
    else this.response.writeHead(status, this.fields)
    this.response.end(body, encoding)
  }
}
