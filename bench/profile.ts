// Where the time of a profile went: `tsx bench/profile.ts bench/.profiles/me.cpuprofile`.
import { existsSync, readFileSync } from 'node:fs'
import { SourceMap, type SourceMapping } from 'node:module'
import { relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ROOT } from './support/processes.js'
import type { Profile, ProfileNode } from './support/profiler.js'

const TOP = 30

const maps = new Map<string, SourceMap | null>()
function mapOf(file: string): SourceMap | null {
  const known = maps.get(file)
  if (known !== undefined) return known
  const map = existsSync(`${file}.map`) ? new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8'))) : null
  maps.set(file, map)
  return map
}

/** A file of a package by the name of that package, be it in a bundle or not. */
const inPackage = (file: string) => file.replace(/^.*node_modules\//, '')

/** Where a function stands: file and line of the source as it was written. */
function placeOf({ callFrame: { url, lineNumber, columnNumber } }: ProfileNode): string {
  if (!url.startsWith('file:') && !url.startsWith('/')) return url || '(engine)'
  const file = url.startsWith('/') ? url : fileURLToPath(url)
  if (file.includes('node_modules/')) return `${inPackage(file)}:${lineNumber + 1}`
  const entry = mapOf(file)?.findEntry(lineNumber, columnNumber) as Partial<SourceMapping> | undefined
  if (!entry?.originalSource || entry.originalLine === undefined) return `${relative(ROOT, file)}:${lineNumber + 1}`
  const source = fileURLToPath(new URL(entry.originalSource, pathToFileURL(file)))
  return `${inPackage(relative(ROOT, source))}:${entry.originalLine + 1}`
}

/** The package, the module of Node or the file of ours that a place belongs to. */
function groupOf(name: string, place: string): string {
  if (place === '(engine)') return name
  if (place.startsWith('node:') || place.startsWith('wasm:')) return place
  const file = place.replace(/:\d+$/, '')
  return /^(src|dist)\//.test(file) ? file : (/^(@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? file)
}

type Times = Map<string, number>
const add = (times: Times, name: string, time: number) => times.set(name, (times.get(name) ?? 0) + time)

/** The nodes from the root down to each node. */
function pathsOf(nodes: readonly ProfileNode[]): Map<number, number[]> {
  const paths = new Map<number, number[]>()
  // Parents come before their children.
  for (const { id, children = [] } of nodes) {
    const path = [...(paths.get(id) ?? []), id]
    paths.set(id, path)
    for (const child of children) paths.set(child, path)
  }
  return paths
}

/**
 * Time in which the process was not idle, in percent and, when the number of requests is known, in microseconds for each:
 * by itself for groups and functions, and with everything called without waiting for the functions of ours.
 */
export function summarize({ nodes, samples, timeDeltas }: Profile, requests?: number): string {
  const places = new Map(nodes.map((node) => [node.id, placeOf(node)]))
  const names = new Map(nodes.map((node) => [node.id, node.callFrame.functionName || '(anonymous)']))
  const paths = pathsOf(nodes)
  const [byFunction, byGroup, inclusive]: Times[] = [new Map(), new Map(), new Map()]
  let busy = 0
  samples.forEach((id, index) => {
    const name = names.get(id) ?? ''
    if (name === '(idle)') return
    const time = timeDeltas[index] ?? 0
    const place = places.get(id) ?? ''
    const labels = new Set((paths.get(id) ?? []).map((each) => `${names.get(each)}  ${places.get(each)}`))
    for (const label of labels) if (/ {2}(src|dist)\//.test(label)) add(inclusive as Times, label, time)
    add(byFunction as Times, `${name}  ${place}`, time)
    add(byGroup as Times, groupOf(name, place), time)
    busy += time
  })
  const toLines = (times: Times | undefined) =>
    [...(times ?? [])]
      .sort(([, a], [, b]) => b - a)
      .slice(0, TOP)
      .map(([name, time]) => {
        const each = requests ? `${(time / requests).toFixed(1).padStart(7)} us` : ''
        return `${((100 * time) / busy).toFixed(1).padStart(6)} %${each}  ${name}`
      })
  return [
    `${(busy / 1e6).toFixed(2)} s busy${requests ? `, ${(busy / requests).toFixed(0)} us for each request` : ''}`,
    ...['', 'By package or file', ...toLines(byGroup)],
    ...['', 'By function', ...toLines(byFunction)],
    ...['', 'Ours, with what they call', ...toLines(inclusive)],
  ].join('\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(summarize(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Profile))
}
