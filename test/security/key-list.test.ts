import { decodeProtectedHeader } from 'jose'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { runCli } from '../support/cli.js'

const HS256 = { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: `${'a'.repeat(32)},${'b'.repeat(32)}` }
const date = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)

describe('`keys list` of the command line', async () => {
  const app = await startApp()
  const database = { DATABASE_URL: app.installation.databaseUrl }

  async function query(sql: string): Promise<void> {
    const client = new pg.Client(app.installation.databaseUrl)
    await client.connect()
    await client.query(sql).finally(() => client.end())
  }

  async function list(env: Record<string, string> = {}): Promise<object[]> {
    const { code, stdout, stderr } = await runCli({ ...env, ...database }, 'keys', 'list', '--json')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return JSON.parse(stdout).keys
  }

  test('explains itself', async () => {
    const { code, stdout } = await runCli({}, 'keys', 'list', '--help')
    expect(code).toBe(0)
    expect(stdout).toContain('Examples:')
  })

  test('tells which key signs, which still verify, and which do nothing any more', async () => {
    const { accessToken } = await app.newUser()
    const { kid: old } = decodeProtectedHeader(accessToken)
    expect(await list()).toEqual([{ kid: old, algorithm: 'EdDSA', createdAt: date, retiredAt: null, state: 'signs' }])
    const rotated = await runCli(database, 'keys', 'rotate', '--json')
    const { kid } = JSON.parse(rotated.stdout)
    const [signs, retired] = [
      { algorithm: 'EdDSA', createdAt: date, retiredAt: null },
      { algorithm: 'EdDSA', createdAt: date, retiredAt: date },
    ]
    expect(await list()).toEqual([
      { ...signs, kid, state: 'signs' },
      { ...retired, kid: old, state: 'verifies' },
    ])
    // Its tokens would have expired at once, but for the time that servers have to notice.
    await query(`UPDATE signing_keys SET retired_at = retired_at - interval '61 seconds'`)
    expect(await list({ ACCESS_TOKEN_LIFETIME: '1s' })).toMatchObject([
      { kid, state: 'signs' },
      { kid: old, state: 'expired' },
    ])
    const others = await list({ JWT_ALGORITHM: 'ES256' })
    expect(others).toMatchObject([
      { algorithm: 'ES256', state: 'signs' },
      { kid, state: 'unused' },
      { kid: old, state: 'unused' },
    ])
  })

  test('is a table for people, without anything that is secret', async () => {
    const { code, stdout } = await runCli(database, 'keys', 'list')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^kid +algorithm +created +retired +state\n/)
    expect(stdout).toMatch(/^[\w-]{43} +EdDSA +\S+Z +- +signs$/m)
    expect(Object.keys((await list())[0] ?? {})).toEqual(['kid', 'algorithm', 'createdAt', 'retiredAt', 'state'])
  })

  test('with HS256 tells of the secrets of JWT_SIGNING_KEY by their ids only', async () => {
    const keys = await list(HS256)
    const key = { algorithm: 'HS256', createdAt: null, retiredAt: null, kid: expect.stringMatching(/^[\w-]{16}$/) }
    expect(keys).toEqual([
      { ...key, state: 'signs' },
      { ...key, state: 'verifies' },
    ])
    expect(JSON.stringify(keys)).not.toMatch(/a{32}|b{32}/)
  })
})
