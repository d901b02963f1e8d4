import { IncomingMessage } from 'node:http'

/** A piece of this size costs more than what is in it. Networks make larger ones: nobody who is well sends many of these. */
export const CRUMB_BYTES = 256
/** So many may a body have. Of those that wait for the answer to another request, all of a connection together. */
export const MAX_CRUMBS = 1000

export class Request extends IncomingMessage {
  private asksForUpgrade?: boolean
  /** How many small pieces of the body have come. */
  private crumbs = 0

  /**
   * A request that upgrades to nothing that we know is a request like any other (RFC 9110 section 7.8): Java's client and
   * `curl --http2` offer h2c with each. Node would take it for a WebSocket.
   */
  get upgrade(): boolean {
    return this.asksForUpgrade === true && this.headers.upgrade?.toLowerCase() === 'websocket'
  }

  set upgrade(asks: boolean) {
    this.asksForUpgrade = asks
  }

  /**
   * Until somebody reads it, Node keeps each piece by itself, at two hundred bytes for one. Past those by which `readBody` sees
   * that they are too many, they are thrown away.
   */
  override push(piece: Buffer | null): boolean {
    if (piece === null || piece.length >= CRUMB_BYTES) return super.push(piece)
    this.crumbs += 1
    this.emit('crumb')
    return this.crumbs > MAX_CRUMBS + 1 || super.push(piece)
  }
}

// Nobody reads trailers; of thousands, those that wait would hold many times their bytes.
Object.defineProperty(Request.prototype, 'rawTrailers', { get: () => [], set() {} })
