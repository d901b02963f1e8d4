// A database of places in MaxMind's format (https://maxmind.github.io/MaxMind-DB/), small enough to be made by each test file.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

/** Networks of a /24 and where they are. */
const PLACES: Readonly<Record<string, object | undefined>> = {
  '203.0.113': place('Vienna', 'AT', { latitude: 48.2, longitude: 16.37, accuracy_radius: 20 }),
  '198.51.100': place('Sydney', 'AU', { latitude: -33.87, longitude: 151.21, accuracy_radius: 20 }),
  // A quarter of an hour by train.
  '192.0.2': place('Bratislava', 'SK', { latitude: 48.15, longitude: 17.11, accuracy_radius: 20 }),
  // Nobody knows more of it than its country.
  '100.64.7': { country: { iso_code: 'BR' } },
}

/** Addresses that the database knows. */
export const AT = {
  vienna: '203.0.113.7',
  viennaToo: '203.0.113.8',
  sydney: '198.51.100.7',
  bratislava: '192.0.2.7',
  somewhereInBrazil: '100.64.7.7',
} as const

function place(city: string, country: string, location: object) {
  return { city: { names: { en: city } }, country: { iso_code: country }, location }
}

const [STRING, DOUBLE, UINT32, MAP, UINT64] = [2, 3, 6, 7, 9] as const

function head(type: number, size: number): Buffer {
  const extended = type > 7
  const length = size < 29 ? [size] : [29, size - 29]
  return Buffer.from([
    (extended ? 0 : type << 5) | (length[0] ?? 0),
    ...(extended ? [type - 7] : []),
    ...length.slice(1),
  ])
}

function encode(value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.concat([head(STRING, Buffer.byteLength(value)), Buffer.from(value)])
  if (typeof value === 'bigint') {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(value)
    return Buffer.concat([head(UINT64, 8), bytes])
  }
  if (typeof value === 'number') {
    const isPlain = Number.isInteger(value) && value >= 0
    const bytes = Buffer.alloc(isPlain ? 4 : 8)
    if (isPlain) bytes.writeUInt32BE(value)
    else bytes.writeDoubleBE(value)
    return Buffer.concat([head(isPlain ? UINT32 : DOUBLE, bytes.length), bytes])
  }
  const entries = Object.entries(value as object)
  return Buffer.concat([head(MAP, entries.length), ...entries.flatMap(([key, item]) => [encode(key), encode(item)])])
}

/** A binary tree over the bits of IPv4 addresses; its leaves are offsets into the data. */
function build(places: Readonly<Record<string, object | undefined>>): Buffer {
  const nodes: [number | null, number | null][] = [[null, null]]
  const leaves: { node: number; bit: 0 | 1; offset: number }[] = []
  let data = Buffer.alloc(0)
  for (const [network, record] of Object.entries(places)) {
    const bits = network.split('.').flatMap((part) => [...Number(part).toString(2).padStart(8, '0')].map(Number))
    let node = 0
    for (const bit of bits.slice(0, -1) as (0 | 1)[]) {
      const pair = nodes[node] as [number | null, number | null]
      pair[bit] ??= nodes.push([null, null]) - 1
      node = pair[bit]
    }
    leaves.push({ node, bit: bits.at(-1) as 0 | 1, offset: data.length })
    data = Buffer.concat([data, encode(record)])
  }
  const tree = Buffer.alloc(nodes.length * 6)
  nodes.forEach((pair, node) => {
    for (const bit of [0, 1] as const) tree.writeUIntBE(pair[bit] ?? nodes.length, node * 6 + bit * 3, 3)
  })
  for (const { node, bit, offset } of leaves) tree.writeUIntBE(nodes.length + 16 + offset, node * 6 + bit * 3, 3)
  const metadata = {
    ...{ node_count: nodes.length, record_size: 24, ip_version: 4, database_type: 'City' },
    ...{ binary_format_major_version: 2, binary_format_minor_version: 0, build_epoch: 1_700_000_000n },
  }
  const marker = Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1')
  return Buffer.concat([tree, Buffer.alloc(16), data, marker, encode(metadata)])
}

/** The path of a database with these places, for GEOIP_DATABASE. It goes with the file. */
export function makePlaces(places = PLACES): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-places-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'places.mmdb')
  writeFileSync(path, build(places))
  return path
}
