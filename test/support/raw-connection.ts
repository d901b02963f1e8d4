import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A connection to say anything on, and what has come on it so far. One that is cut off may end with an error. */
export function openRawConnection(url: string, allowHalfOpen = false): { socket: Socket; heard(): string } {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen })
  onTestFinished(() => void socket.destroy())
  let heard = ''
  socket.setEncoding('utf8').on('data', (text) => {
    heard += text
  })
  socket.on('error', () => {})
  return { socket, heard: () => heard }
}

/** Everything that the server says to a connection that sends the text, until it closes it. */
export async function tell(url: string, text: string): Promise<string> {
  const { socket, heard } = openRawConnection(url)
  socket.write(text)
  await new Promise((resolve) => socket.once('close', resolve))
  return heard()
}
