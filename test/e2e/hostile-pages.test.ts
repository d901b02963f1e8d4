import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MUTATIONS, READS } from './attacks.js'
import {
  closeSites,
  cookiesOf,
  LOGIN,
  LOGOUT,
  MODES,
  REFRESH,
  type Site,
  send,
  serveSite,
  settingsFor,
} from './sites.js'
import {
  ask,
  openBrowser,
  PASSWORD,
  registerVerified,
  type Server,
  signIn,
  startServer,
  stopEverything,
} from './support.js'

const VICTIM = 'victim@example.com'
const ATTACKER = 'attacker@example.com'
const INPUT = { input: { identifier: VICTIM, password: PASSWORD, tokenDelivery: 'COOKIE' } }
const LOGIN_AS_ATTACKER = `mutation {
  login(input: { identifier: "${ATTACKER}", password: "${PASSWORD}", tokenDelivery: COOKIE }) { __typename }
}`
const STATE = `{
  sessions(first: 100) { edges { node { id lastRotationAt } } }
  auditLog(first: 100) { edges { node { id type } } }
}`

let browser: Browser
let frontend: Site
let hostile: Site

beforeAll(async () => {
  ;[browser, frontend, hostile] = await Promise.all([openBrowser(), serveSite(), serveSite()])
})

afterAll(async () => {
  await stopEverything()
  closeSites()
})

// The least and the most that a browser can keep, under the weakest and the strongest names.
describe.each(MODES.filter(({ prefix, hasAccessCookie }) => hasAccessCookie === (prefix !== '')))(
  'with $mode',
  ({ settings, prefix, hasAccessCookie }) => {
    let server: Server
    let context: BrowserContext
    let page: Page
    let attacker: Page
    const tokens: Record<string, string> = {}
    const refreshName = `${prefix}portcullis_refresh`

    beforeAll(async () => {
      server = await startServer(settingsFor(frontend, settings))
      for (const email of [VICTIM, ATTACKER]) {
        await registerVerified(server, email)
        tokens[email] = (await signIn(server, email)).authentication?.accessToken ?? ''
      }
    })

    /** The victim is signed in in one tab, and opens another. */
    async function openTabs(): Promise<void> {
      await context?.close()
      context = await browser.newContext()
      page = await context.newPage()
      await page.goto(frontend.origin)
      const { body } = await send(page, server, LOGIN, INPUT)
      expect(body?.data?.login?.__typename).toBe('LoginSuccess')
      attacker = await context.newPage()
    }

    /** Everything that an attack could change: both accounts, with their logs, and what the browser keeps. */
    const state = async () => ({
      victim: await accountOf(VICTIM),
      attacker: await accountOf(ATTACKER),
      cookies: await cookiesOf(context, server),
    })
    async function accountOf(email: string) {
      const { sessions, auditLog } = await ask(server, STATE, {}, tokens[email])
      // The list is in the order of activity, which is noted now and then.
      const edges = [sessions?.edges ?? []].flat() as { node: { id: string } }[]
      return { auditLog, sessions: new Map(edges.map(({ node }) => [node.id, node])) }
    }

    describe.each([
      ['a page on another port, whose requests carry every cookie,', () => hostile.origin],
      ['a page of another site', () => hostile.elsewhere],
    ])('%s', (_, originOf) => {
      // Once for all attacks: nothing may have changed before the next one.
      beforeAll(openTabs)
      // Forms and links have led away from it.
      const toHostilePage = async () => {
        if (!attacker.url().startsWith(`${originOf()}/`)) await attacker.goto(originOf())
      }

      it.each(MUTATIONS)('changes nothing by %s', async (_name, attack, outcome) => {
        const before = await state()
        for (const query of [REFRESH, LOGOUT, LOGIN_AS_ATTACKER]) {
          await toHostilePage()
          expect(await attack(attacker, `${server.url}/graphql`, query)).toBe(outcome)
        }
        expect(await state()).toEqual(before)
      })

      it.each(READS)('learns nothing by %s', async (_name, attack) => {
        for (const query of ['{ csrfToken }', '{ me { email } }']) {
          await toHostilePage()
          expect(await attack(attacker, `${server.url}/graphql`, query)).toBe('refused')
        }
      })
    })

    /** Cookies know no ports: a page on another port of the host sets them for all. */
    const plant = (...cookies: string[]) => {
      const query = new URLSearchParams(cookies.map((cookie) => ['set', cookie]))
      return attacker.goto(`${hostile.origin}/?${query}`)
    }
    const attributes = prefix ? 'Secure; HttpOnly' : 'HttpOnly'

    describe('a page that plants cookies', () => {
      beforeEach(openTabs)

      it('opens nothing with a CSRF token of its own', async () => {
        const { csrfToken } = (await ask(server, '{ csrfToken }')) as unknown as { csrfToken: string }
        const before = await state()
        await plant(`${prefix}portcullis_csrf=${csrfToken}; Path=/; ${attributes}`)
        expect((await cookiesOf(context, server)).get(`${prefix}portcullis_csrf`)).toBe(csrfToken)

        const headers = { 'content-type': 'application/json', 'x-csrf-token': csrfToken }
        expect(await send(attacker, server, LOGOUT, {}, headers)).toHaveProperty('failure')
        const answered = attacker.waitForResponse(`${server.url}/verify-email`)
        await attacker.evaluate(
          ([action, csrf]) => {
            const form = Object.assign(document.createElement('form'), { method: 'post', action })
            for (const [name, value] of Object.entries({ csrf, email: 'a@example.com', code: '000000' })) {
              form.append(Object.assign(document.createElement('input'), { name, value }))
            }
            document.body.append(form)
            form.submit()
          },
          [`${server.url}/verify-email`, csrfToken] as const,
        )
        expect((await answered).status()).toBe(403)
        const { victim, attacker: other } = await state()
        expect({ victim, attacker: other }).toEqual({ victim: before.victim, attacker: before.attacker })
      })

      const refreshAs = async () => (await send(page, server, REFRESH)).body?.data?.refresh
      const plantedToken = async () => (await signIn(server, ATTACKER)).authentication?.refreshToken ?? ''

      it("does not put a refresh token in the place of the victim's by one beside it", async () => {
        await plant(`${refreshName}=${await plantedToken()}; Path=/graphql; ${attributes}`)
        const kept = (await context.cookies(`${server.url}/graphql`)).filter(({ name }) => name === refreshName)
        // A __Host- cookie has the path "/", or the browser does not keep it.
        expect(kept).toHaveLength(prefix ? 1 : 2)
        const expected = prefix
          ? { __typename: 'RefreshSuccess', authentication: { user: { email: VICTIM } } }
          : { __typename: 'InvalidRefreshTokenError', reason: 'MISSING' }
        expect(await refreshAs()).toMatchObject(expected)
      })

      it('does not keep the session that the victim signs in over', async () => {
        const token = await plantedToken()
        await plant(
          `${refreshName}=${token}; Path=/; ${attributes}`,
          ...(hasAccessCookie ? [`${prefix}portcullis_access=${tokens[ATTACKER]}; Path=/; ${attributes}`] : []),
        )
        expect((await cookiesOf(context, server)).get(refreshName)).toBe(token)
        const { body } = await send(page, server, LOGIN, INPUT)
        expect(body?.data?.login).toMatchObject({ authentication: { user: { email: VICTIM } } })
        expect(await refreshAs()).toMatchObject({ authentication: { user: { email: VICTIM } } })
        const query = `mutation ($input: RefreshInput) { refresh(input: $input) { __typename ... on InvalidRefreshTokenError { reason } } }`
        const { refresh } = await ask(server, query, { input: { refreshToken: token } })
        expect(refresh).toEqual({ __typename: 'InvalidRefreshTokenError', reason: 'REVOKED' })
      })

      it('can, on the same host, make the browser that of another account: no cookie protects from that', async () => {
        await plant(`${refreshName}=${await plantedToken()}; Path=/; ${attributes}`)
        expect(await refreshAs()).toMatchObject({ authentication: { user: { email: ATTACKER } } })
      })
    })
  },
)
