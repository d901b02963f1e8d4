// Writes schema.graphql; with --check only says whether it is up to date.
import { readFileSync, writeFileSync } from 'node:fs'
import { printContract } from '../src/executable-schema.js'

const file = new URL('../schema.graphql', import.meta.url)
const printed = printContract()

if (!process.argv.includes('--check')) writeFileSync(file, printed)
else if (readFileSync(file, 'utf8') !== printed) {
  console.error('schema.graphql is not what the code says: run `npm run schema` and review the difference.')
  process.exit(1)
}
