import { readFileSync } from 'node:fs'
import { buildSchema, findBreakingChanges, findDangerousChanges } from 'graphql'
import { expect, test } from 'vitest'
import { printContract } from '../../src/executable-schema.js'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const contract = buildSchema(read('contract.graphql'))
const ours = buildSchema(printContract())

test('The schema has everything that the contract promises, with the same names, arguments, types and nullability', () => {
  expect(findBreakingChanges(contract, ours)).toEqual([])
})

test('No default of the contract has another value', () => {
  const changed = findDangerousChanges(contract, ours).filter(({ type }) => type === 'ARG_DEFAULT_VALUE_CHANGE')
  expect(changed).toEqual([])
})

test('schema.graphql is what the code says', () => {
  expect(read('../../schema.graphql')).toBe(printContract())
})
