import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { chainOf, makeEvents } from '../support/audit-chain.js'
import { runCli } from '../support/cli.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import { compact, stealKey } from '../support/signing.js'

describe('a log that was rewritten is not signed', () => {
  /** The fifth event is another one, and so is every hash from there on. */
  async function rewrite(app: TestApp) {
    const ada = await app.newUser()
    await makeEvents(ada, 15)
    await eventually(async () => (await chainOf(app)).checkpoints).toBeGreaterThan(0)
    const { tamper } = await openDatabase(app.installation)
    await tamper(`WITH gone AS (DELETE FROM audit_events WHERE position >= 5 RETURNING *)
      INSERT INTO audit_inbox (event_id, type, occurred_at, success, risk_level, user_id, metadata)
      SELECT id, 'LOGGED_OUT', occurred_at, success, risk_level, user_id, '{}' FROM gone ORDER BY position`)
    return { ada, tamper }
  }
  const reasonsOf = ({ log }: TestApp) => log.problems.map(({ fields }) => (fields as { reason: string }).reason)

  test('where its checkpoints name a key that nobody knows', async () => {
    const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
    const { ada, tamper } = await rewrite(app)
    const broken = { isIntact: false, firstBreak: { reason: 'CHECKPOINT_FORGED' } }
    await chainOf(app)
    await tamper(
      `UPDATE audit_checkpoints c SET hash = e.hash, kid = 'unknown' FROM audit_events e WHERE e.position = c.position`,
    )
    expect(await chainOf(app)).toMatchObject(broken)
    await makeEvents(ada, 12)
    // Until the checkpoints were forged as well, it could be told that the events are changed.
    await eventually(() => reasonsOf(app)).toContain('CHECKPOINT_FORGED')
    expect(await chainOf(app)).toMatchObject(broken)
    app.log.hush(/tampered/)
  })

  test('where a stub in the place of the events was signed with a stolen key', async () => {
    const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
    await makeEvents(await app.newUser(), 15)
    const { tamper, query } = await openDatabase(app.installation)
    const placesOf = async () => (await query('SELECT position FROM audit_checkpoints')).rows.length
    await eventually(placesOf).toBe(2)
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-anchors-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'server.log')
    writeFileSync(file, app.log.lines.join('\n'))
    const env = { DATABASE_URL: app.installation.databaseUrl }
    const verify = () => runCli(env, 'audit', 'verify', '--anchors', file)
    expect(await verify()).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Compared with 2 of 2 anchors.'),
    })
    const [{ hash: genuine }] = (await query('SELECT hash FROM audit_events WHERE position = 20')).rows
    const key = await stealKey(app)
    await tamper('DELETE FROM audit_events')
    for (const [position, hash, broken] of [
      [20, Buffer.alloc(32, 7), 'BROKEN at position 20: A signed checkpoint says otherwise'],
      [20, genuine, 'BROKEN at position 10: The event is missing'],
      [25, Buffer.alloc(32, 7), 'BROKEN at position 10: The event is missing'],
    ] as const) {
      const at = new Date()
      const statement = { kind: 'RETENTION', position: `${position}`, hash: hash.toString('hex'), at: at.toISOString() }
      const jws = compact({ alg: key.alg, kid: key.kid, typ: 'portcullis-audit+jws' }, statement, key.sign)
      await tamper('DELETE FROM audit_checkpoints')
      await query(
        `INSERT INTO audit_checkpoints (kind, position, hash, created_at, kid, jws) VALUES ('RETENTION', $1, $2, $3, $4, $5)`,
        [position, hash, at, key.kid, jws],
      )
      expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining(broken) })
    }
  })

  test('where its checkpoints are gone, and shows what was signed once', async () => {
    const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
    const { ada, tamper } = await rewrite(app)
    await tamper('DELETE FROM audit_checkpoints')
    await makeEvents(ada, 12)
    await eventually(() => reasonsOf(app)).toContain('CHECKPOINT_MISSING')
    // Before its checkpoints were gone as well, it could be told that events are missing.
    expect(['MISSING', 'CHECKPOINT_MISSING']).toEqual(expect.arrayContaining(reasonsOf(app)))
    app.log.hush(/tampered/)
    // Nothing is left in the database that would tell; the log of the server does.
    expect(await chainOf(app)).toMatchObject({ isIntact: true, checkpoints: 0 })
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-anchors-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    writeFileSync(join(folder, 'server.log'), app.log.lines.join('\n'))
    const env = { DATABASE_URL: app.installation.databaseUrl }
    const { code, stdout } = await runCli(env, 'audit', 'verify', '--json', '--anchors', join(folder, 'server.log'))
    expect(code).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ broken: { reason: 'CHECKPOINT_MISMATCH' } })
    const truth = app.log.lines.find((each) => each.includes('"jws":"')) ?? ''
    // As tools write JSON that pick lines out of a log.
    for (const [name, layout] of [
      ['indented', JSON.stringify(JSON.parse(truth), null, 2)],
      ['spaced', truth.replaceAll('","', '", "').replaceAll('":', '": ')],
    ] as const) {
      writeFileSync(join(folder, name), layout)
      const shown = await runCli(env, 'audit', 'verify', '--anchors', join(folder, name))
      expect(shown).toMatchObject({ code: 1, stdout: expect.stringContaining('otherwise: the log was rewritten') })
    }
    // What a client makes the server log is no anchor.
    const forged = [{ typ: 'portcullis-audit+jws' }, { position: 1, hash: '00' }].map((part) =>
      Buffer.from(JSON.stringify(part)).toString('base64url'),
    )
    const line = { level: 'warn', correlationId: `${forged.join('.')}.a`, path: `"jws":"${forged.join('.')}.a"` }
    writeFileSync(join(folder, 'forged.log'), JSON.stringify(line))
    const ignored = await runCli(env, 'audit', 'verify', '--anchors', join(folder, 'forged.log'))
    expect(ignored).toMatchObject({ code: 1, stderr: expect.stringContaining('Has no line of a server') })
    const [, payload = ''] = /"jws":"[\w-]+\.([\w-]+)\./.exec(truth) ?? []
    const other = { ...JSON.parse(Buffer.from(payload, 'base64url').toString()), hash: '00' }
    const contradiction = Buffer.from(JSON.stringify(other)).toString('base64url')
    for (const [name, spoilt, message] of [
      ['two', `${truth}\n${truth.replace(/\.[\w-]+\./, `.${contradiction}.`)}`, 'contradict each other'],
      ['cut', truth.replace(/"jws":"[\w-]+\./, '"jws":"x.'), 'cannot be read'],
    ] as const) {
      writeFileSync(join(folder, name), spoilt)
      const refused = await runCli(env, 'audit', 'verify', '--anchors', join(folder, name))
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining(message) })
    }
    const none = await runCli(env, 'audit', 'verify', '--anchors', fileURLToPath(import.meta.url))
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('Has no line of a server') })
    app.log.hush(/tampered/)
  })
})
