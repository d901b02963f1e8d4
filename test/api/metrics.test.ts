import perfHooks from 'node:perf_hooks'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { metric } from '../support/metrics.js'

const app = await startApp()

test('The metrics tell how often each root field was asked, how it ended and how long it took', async () => {
  const told = () =>
    Promise.all(
      [
        'graphql_operations_total{field="auditLog",code="UNAUTHENTICATED"}',
        'graphql_operation_duration_seconds_count{field="auditLog"}',
        'graphql_operation_duration_seconds_sum{field="auditLog"}',
        'http_request_duration_seconds_count{path="/graphql",status="200"}',
        'http_request_duration_seconds_sum{path="/graphql",status="200"}',
      ].map((name) => metric(app.url, name)),
    )
  expect(await told()).toEqual([0, 0, 0, 0, 0])
  await app.anonymous.refusal('{ auditLog { edges { cursor } } }')
  await eventually(told).toEqual([1, 1, expect.any(Number), 1, expect.any(Number)])
  expect(Math.min(...(await told()))).toBeGreaterThan(0)
})

test('An operation that fails as a whole has failed for each field that it asks for', async () => {
  const query = 'query ($first: Int) { auditLog(first: $first) { edges { cursor } } }'
  await app.anonymous.post(JSON.stringify({ query, variables: { first: 'one' } }))
  const failed = () => metric(app.url, 'graphql_operations_total{field="auditLog",code="BAD_USER_INPUT"}')
  await eventually(failed).toBe(1)
})

test('The metrics tell of the process, too', async () => {
  const text = await (await fetch(`${app.url}/metrics`)).text()
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m)
})

test('A process is measured once, however many servers it has had: a measurement does not end with its server', async () => {
  const measure = vi.spyOn(perfHooks, 'monitorEventLoopDelay')
  onTestFinished(() => measure.mockRestore())
  await startApp()
  expect(measure).not.toHaveBeenCalled()
})
