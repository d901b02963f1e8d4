import { HttpConnection } from './http-connection.js'

export interface TimingJob {
  port: number
  /** Requests, one after the other. */
  wires: string[]
  /** A text that every answer must contain. */
  expected: string
}

/** How long each request took, in microseconds. Rejects when an answer is another than expected. */
async function measure({ port, wires, expected }: TimingJob): Promise<number[]> {
  const connection = await HttpConnection.open(port)
  const times: number[] = []
  try {
    for (const wire of wires) {
      const start = performance.now()
      const { status, body } = await connection.send(wire)
      times.push((performance.now() - start) * 1000)
      if (status !== 200 || !body.includes(expected))
        throw new Error(`Not ${expected}: ${status} ${body.slice(0, 300)}`)
    }
  } finally {
    connection.close()
  }
  return times
}

process.on('message', (job: TimingJob) => {
  measure(job).then(
    (times) => process.send?.({ times }),
    (error: Error) => process.send?.({ error: error.message }),
  )
})
