// What becomes of hostile input that is accepted: it comes back exactly as it was sent, and nothing else has changed.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { normalizeUsername } from '../../src/identifiers.js'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { LoginDocument, MeDocument, type RegisterInput } from '../support/generated/graphql.js'
import { hostileText } from '../support/hostile-values.js'
import { watchRows } from '../support/row-watch.js'

const app = await startApp({
  env: { MAX_BODY_BYTES: '1000000', PASSWORD_HISTORY: '0', MAX_CONCURRENT_SESSIONS: '1000' },
})
const { anonymous } = app
const ada = await app.newUser()
const rows = await watchRows(app.installation)

const UPDATE = `mutation ($input: UpdateProfileInput!) {
  updateProfile(input: $input) {
    ... on UpdateProfileSuccess { user { username firstName lastName displayName locale timezone } }
  }
}`
const REGISTER =
  'mutation ($input: RegisterInput!) { register(input: $input) { __typename ... on RegisterSuccess { email } } }'
const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
const CHANGE = 'mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }'

/** Whole characters, of any kind: most of them may stand in a name. */
const name = fc.oneof(hostileText, fc.string({ unit: 'grapheme', minLength: 1, maxLength: 32 }))
const letters = fc
  .array(fc.constantFrom('ａ', 'ﬁ', 'İ', 'ß', 'é', 'e\u0301', 'ا', '𝒳', 'ж', '語', 'ǅ', 'ς', '٣', '.', '-', '_'), {
    ...{ minLength: 2, maxLength: 12 },
  })
  .map((all) => `u${all.join('')}`)
const SLOTS = {
  ...{ firstName: name, lastName: name, displayName: name },
  username: fc.oneof(letters, name),
  locale: fc.oneof(
    fc.constantFrom('x-private', 'i-klingon', 'EN-us', 'de-1996', 'zh-Hant-TW', 'en-u-ca-buddhist'),
    name,
  ),
  timezone: fc.oneof(fc.constantFrom('Etc/GMT+12', 'utc', 'europe/VIENNA', '+23:59', '-00:00', 'US/Pacific'), name),
}
type Slot = keyof typeof SLOTS
const COLUMNS: Record<Slot, string> = {
  ...{ firstName: 'first_name', lastName: 'last_name', displayName: 'display_name' },
  ...{ username: 'username', locale: 'locale', timezone: 'timezone' },
}
const slots = Object.keys(SLOTS) as Slot[]

/** The rows of accounts that have changed since this was asked last. */
const users = async () => (await rows.take()).filter(({ table }) => table === 'public.users')

test.each(slots)('a hostile %s of a profile is refused, or comes back as it is', async (slot) => {
  await users()
  await fc.assert(
    fc.asyncProperty(SLOTS[slot], async (value) => {
      const before = await ada.call(MeDocument)
      const variables = { input: { [slot]: value } }
      const { data, errors } = await ada.post(JSON.stringify({ query: UPDATE, variables }))
      const changed = await users()
      const after = await ada.call(MeDocument)
      if (errors.length > 0) {
        expect(errors.map(({ extensions }) => extensions.code)).toEqual(['BAD_USER_INPUT'])
        expect(changed).toEqual([])
        expect(after).toEqual(before)
        return
      }
      const { user } = (data as { updateProfile: { user: Record<Slot, string> } }).updateProfile
      expect(user[slot]).toBe(value)
      const shown = slot === 'username' ? { displayName: user.displayName } : {}
      expect(after).toEqual({ ...before, ...shown, [slot]: value, currentSession: after?.currentSession })
      for (const { columns, row } of changed) {
        expect([COLUMNS[slot], 'username_normalized', 'updated_at']).toEqual(expect.arrayContaining(columns))
        expect(row).toMatchObject({ id: ada.id, [COLUMNS[slot]]: value })
        if (slot === 'username') expect(row.username_normalized).toBe(normalizeUsername(value))
      }
    }),
    { numRuns: 60 },
  )
})

test('a registration with hostile words is refused, or stored as it is', async () => {
  let usernames = 0
  await fc.assert(
    fc.asyncProperty(fc.record(SLOTS, { requiredKeys: [] }), async ({ username, ...words }) => {
      usernames += 1
      // One of its own: only the words of others are taken.
      const own = username === undefined ? {} : { username: `${username.slice(0, 20)}${usernames}` }
      const input: RegisterInput = app.newAccount({ ...words, ...own })
      await users()
      const { data, errors } = await anonymous.post(JSON.stringify({ query: REGISTER, variables: { input } }))
      const inserted = await users()
      if (errors.length > 0) {
        expect(errors.map(({ extensions }) => extensions.code)).toEqual(['BAD_USER_INPUT'])
        expect(inserted).toEqual([])
        return
      }
      expect(data).toMatchObject({ register: { __typename: 'RegisterSuccess', email: input.email } })
      const given = Object.entries({ ...words, ...own }).map(([slot, value]) => [COLUMNS[slot as Slot], value])
      expect(inserted[0]?.row).toMatchObject({ email: input.email, ...Object.fromEntries(given) })
    }),
    { numRuns: 60 },
  )
})

test('a hostile name of a device is refused, or stands in the list of sessions as it is', async () => {
  await fc.assert(
    fc.asyncProperty(name, async (deviceName) => {
      const before = await ada.sessions()
      const input = { identifier: ada.email, password: ada.password, deviceName, tokenDelivery: 'BODY' }
      const { errors } = await anonymous.post(JSON.stringify({ query: LOGIN, variables: { input } }))
      const after = await ada.sessions()
      if (errors.length > 0) expect(after).toEqual(before)
      else expect(after.map((session) => session.deviceName)).toContain(deviceName)
    }),
    { numRuns: 60 },
  )
})

/** What careless code makes of a password. Halves of surrogate pairs are refused, and no guesses. */
const distortions = (password: string) =>
  [
    ...[password.trim(), password.normalize('NFC'), password.normalize('NFKC'), password.toLowerCase()],
    ...[password.split('\u0000')[0] ?? '', password.slice(0, 72), password.slice(0, -1)],
  ].filter((each) => each !== '' && each !== password && each.isWellFormed())

test('a hostile password is refused, or signs in: exactly as it is, and in no other way', async () => {
  const eve = await app.newUser()
  let { password } = eve
  const logIn = (given: string) =>
    anonymous.call(LoginDocument, { input: { identifier: eve.email, password: given, tokenDelivery: 'BODY' } })
  await fc.assert(
    fc.asyncProperty(hostileText, fc.string({ minLength: 12, maxLength: 12 }), async (odd, random) => {
      const newPassword = `${random}${odd}`
      const input = { currentPassword: password, newPassword }
      const { data, errors } = await eve.post(JSON.stringify({ query: CHANGE, variables: { input } }))
      const result = (data as { changePassword: { __typename: string } } | null)?.changePassword
      const isChanged = errors.length === 0 && result?.__typename === 'ChangePasswordSuccess'
      if (isChanged) password = newPassword
      expect(password.isWellFormed()).toBe(true)
      // As many as do not lock the account.
      for (const other of isChanged ? distortions(password).slice(0, 3) : []) {
        expectType(await logIn(other), 'InvalidCredentialsError')
      }
      expectType(await logIn(password), 'LoginSuccess')
    }),
    { numRuns: 40 },
  )
})
