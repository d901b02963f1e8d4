import { describe, expect, test } from 'vitest'
import { normalizeEmail, normalizeIdentifier, withAsciiDomain } from '../../src/identifiers.js'

describe('an address at an international domain', () => {
  test.each([
    ['ada@bücher.example', 'ada@xn--bcher-kva.example'],
    ['ada@BÜCHER.example', 'ada@xn--bcher-kva.example'],
    ['ada@bu\u0308cher。example', 'ada@xn--bcher-kva.example'],
    ['ada@XN--BCHER-KVA.example', 'ada@xn--bcher-kva.example'],
    // Unicode and UTS 46 make other letters of these: limits count by what was typed, accounts are found by what is kept.
    ['ada@stra\u1e9ee.example', 'ada@xn--strae-oqa.example'],
    ['ada@ΑΣ.example', 'ada@xn--mxa0b.example'],
    ['ada@gm\uff41il.com', 'ada@gmail.com'],
  ])('is the same account as %s, whether or not its domain is in ASCII already', (typed, key) => {
    expect(normalizeEmail(typed)).toBe(key)
    expect(normalizeIdentifier(typed)).toBe(key)
    expect(normalizeEmail(withAsciiDomain(typed))).toBe(key)
  })

  test.each([
    'ada@é.example#x',
    'ada@é/x.example',
    'ada@é%2eexample',
    'ada@xn--é.example',
    'ada@\u00a0a.example',
    'ada@é.example ',
  ])('%s is none, and stays as it is', (text) => expect(withAsciiDomain(text)).toBe(text))
})
