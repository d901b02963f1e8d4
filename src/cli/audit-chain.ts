import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { decodeProtectedHeader } from 'jose'
import { AUDIT_BREAKS } from '../audit-events.js'
import { AUDIT_STATEMENT } from '../services/audit-signatures.js'
import type { Anchor, Verification } from '../services/audit-verification.js'
import type { Host } from './host.js'
import { withInstallation } from './installation.js'
import { examples, print } from './output.js'

interface Positions {
  from?: bigint
  to?: bigint
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

function position(value: string): bigint {
  if (!/^[1-9]\d{0,17}$/.test(value)) throw new InvalidArgumentError('Must be a position: a whole number from 1 on.')
  return BigInt(value)
}

/**
 * The field of a log line, as JSON, which a tool may have laid out anew, or for people; not what a client has put into
 * another field, where quotes are escaped.
 */
const SIGNED = /(?:^\s*"?|[{,]\s*")jws"?\s*:\s*"([\w-]+\.[\w-]+\.[\w-]+)"/gm

/** Null for what is signed about something else. */
function anchorOf(jws: string): Anchor | null {
  try {
    if (decodeProtectedHeader(jws).typ !== AUDIT_STATEMENT) return null
    const { kind, position, hash, at } = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString())
    return { kind, position: BigInt(position), hash: String(hash), at: new Date(at) }
  } catch {
    throw new InvalidArgumentError('Has a signed line that cannot be read: was it cut off?')
  }
}

/** What was signed once, from whatever lines have it. What they say was signed needs no proof: they were kept elsewhere. */
function anchors(path: string): Anchor[] {
  const found = new Map<bigint, Anchor>()
  for (const [, jws = ''] of readFile(path).matchAll(SIGNED)) {
    const anchor = anchorOf(jws)
    if (!anchor) continue
    const known = found.get(anchor.position)
    if (known && known.hash !== anchor.hash) {
      throw new InvalidArgumentError(`Has two lines that contradict each other, about position ${anchor.position}.`)
    }
    // That it was removed counts for more than that it was there.
    if (known?.kind !== 'RETENTION') found.set(anchor.position, anchor)
  }
  if (found.size === 0)
    throw new InvalidArgumentError('Has no line of a server that says that the audit log was signed.')
  return [...found.values()].sort((a, b) => Number(a.position - b.position))
}

function readFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new InvalidArgumentError(`Cannot be read: ${(error as Error).message}`)
  }
}

function describe(
  { from, to, events, checkpoints, anchors, signedUpTo, broken }: Verification,
  given?: Anchor[],
): string {
  if (broken) return `BROKEN at position ${broken.position}: ${AUDIT_BREAKS[broken.reason]}`
  const signed =
    signedUpTo > 0n ? `Signed up to position ${signedUpTo}, by ${checkpoints} checkpoints.` : 'Not signed yet.'
  const intact = `Intact: ${events} events, positions ${from} to ${to}.\n${signed}`
  if (!given) return intact
  if (anchors === 0)
    return `NOT COMPARED: none of the ${given.length} anchors is about a place that was looked at; newer ones are needed.\nBy itself: ${intact}`
  return `${intact}\nCompared with ${anchors} of ${given.length} anchors.`
}

/** Bigints as JSON has them: texts. */
const toJson = ({ broken, ...result }: Verification) => ({
  isIntact: broken === null,
  ...Object.fromEntries(Object.entries(result).map(([key, value]) => [key, String(value)])),
  events: result.events,
  checkpoints: result.checkpoints,
  anchors: result.anchors,
  broken: broken && { position: String(broken.position), reason: broken.reason },
})

/** What is not in the log proves nothing, neither that it is intact nor that something is missing. */
function assertInLog({ from, to }: Positions, { from: first, end, broken }: Verification): void {
  if (broken) return
  const last = to ?? from
  if (last !== undefined && last > end) throw new Error(`There is no position ${last}: the log ends at ${end}`)
  if (to !== undefined && to < first) throw new Error(`There is no position ${to} any more: the log begins at ${first}`)
}

/** Says how far it is, where somebody is looking. */
const reportProgress = ({ stderr }: Host, events: number) => {
  if (stderr.isTTY) stderr.write(`\r${events} events`)
}

export function addVerifyCommand(audit: Command, host: Host): void {
  audit
    .command('verify')
    .description('prove that no event was changed or removed; exit status 1, and the first broken position, otherwise')
    .option('--from <position>', 'the first position to look at (default: the first event)', position)
    .option('--to <position>', 'the last one (default: the newest event)', position)
    .option(
      '--anchors <file>',
      'lines of the log of the servers, kept elsewhere: what they say was signed must be there',
      anchors,
    )
    .addHelpText(
      'after',
      examples('audit verify', 'audit verify --from 100000 --to 200000 --json', 'audit verify --anchors server.log'),
    )
    .action(async (range: Positions & { anchors?: Anchor[] }, command: Command) => {
      if (range.from && range.to && range.from > range.to) throw new Error('--from must not be after --to')
      const result = await withInstallation(host, async ({ services }) => {
        await services.audit.seal()
        return services.verifyAudit({ ...range, onProgress: (events) => reportProgress(host, events) })
      })
      if (host.stderr.isTTY) host.stderr.write('\n')
      assertInLog(range, result)
      print(host, command, toJson(result), describe(result, range.anchors))
      if (result.broken || (range.anchors && result.anchors === 0)) host.exitCode = 1
    })
}

export function addEraseCommand(audit: Command, host: Host): void {
  audit
    .command('erase')
    .description(
      'erase addresses, user agents, places and metadata from the events of an account; the log still verifies',
    )
    .argument('<account>', 'e-mail address, username or id')
    .addHelpText('after', examples('audit erase ada@example.com'))
    .action(async (account: string, _options, command: Command) => {
      const erased = await withInstallation(host, async ({ services }, operator) => {
        // The events of an account outlive it.
        const id = UUID.test(account) ? account : (await services.administration.find(account)).id
        return services.audit.erase(operator, id)
      })
      print(host, command, { erased }, `Events that were erased: ${erased}.`)
    })
}
