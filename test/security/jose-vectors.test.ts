// The examples of RFC 7515 (appendix A) and RFC 8037 (appendix A), through the calls with which we read and sign tokens.
import { calculateJwkThumbprint, compactVerify, importJWK, type JWK, jwtVerify, SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { type JwtAlgorithm, verifyAccessToken } from '../../src/crypto/jwt.js'

const PAYLOAD = 'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ'
const CLAIMS = { iss: 'joe', exp: 1300819380, 'http://example.com/is_root': true }
const BEFORE_EXPIRY = new Date(1300819379_000)

const ED25519 = {
  kty: 'OKP',
  crv: 'Ed25519',
  d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
}
const ED25519_TOKEN =
  'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.' +
  'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg'
const publicOf = ({ d: _, ...jwk }: JWK): JWK => jwk

const RFC_7515: [string, JwtAlgorithm, JWK, string][] = [
  [
    'A.1, HS256',
    'HS256',
    {
      kty: 'oct',
      k: 'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
    },
    `eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.${PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk`,
  ],
  [
    'A.2, RS256',
    'RS256',
    {
      kty: 'RSA',
      n:
        'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ' +
        'S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2' +
        'R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD' +
        'TW9gb54h4FRWyuXpoQ',
      e: 'AQAB',
    },
    `eyJhbGciOiJSUzI1NiJ9.${PAYLOAD}.` +
      'cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t' +
      '1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j' +
      'zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ' +
      'Ge77Rw',
  ],
  [
    'A.3, ES256',
    'ES256',
    {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    },
    `eyJhbGciOiJFUzI1NiJ9.${PAYLOAD}.` +
      'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q',
  ],
]
const UNSECURED = `eyJhbGciOiJub25lIn0.${PAYLOAD}.`
/** Another character in the middle of the signature. */
const damaged = (token: string) => {
  const place = Math.floor((token.lastIndexOf('.') + token.length) / 2)
  return token.slice(0, place) + (token[place] === 'A' ? 'B' : 'A') + token.slice(place + 1)
}

describe.each(RFC_7515)('RFC 7515 %s', (_, algorithm, jwk, token) => {
  const options = { algorithms: [algorithm], currentDate: BEFORE_EXPIRY }

  test('is read, and its claims are those of the example', async () => {
    const { payload } = await jwtVerify(token, await importJWK(jwk, algorithm), options)
    expect(payload).toEqual(CLAIMS)
  })

  test('is refused with a damaged signature, once expired, and under another algorithm', async () => {
    const key = await importJWK(jwk, algorithm)
    await expect(jwtVerify(damaged(token), key, options)).rejects.toThrow('signature verification failed')
    await expect(jwtVerify(token, key, { ...options, currentDate: new Date(1300819380_000) })).rejects.toThrow('"exp"')
    await expect(jwtVerify(token, key, { ...options, algorithms: ['EdDSA'] })).rejects.toThrow('not allowed')
  })

  test('is no access token of ours', async () => {
    const key = await importJWK(jwk, algorithm)
    const findKey = async () => ({ algorithm, key: key as CryptoKey })
    const expected = { algorithm, issuer: 'joe', audience: 'joe', now: BEFORE_EXPIRY, findKey }
    expect(await verifyAccessToken(token, expected)).toBeNull()
    expect(await verifyAccessToken(UNSECURED, expected)).toBeNull()
  })
})

describe('RFC 8037', () => {
  test('A.3: the thumbprint, which names a key, is that of the example', async () => {
    expect(await calculateJwkThumbprint(publicOf(ED25519))).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
  })

  test('A.5: the signature is good, and a damaged one is not', async () => {
    const key = await importJWK(publicOf(ED25519), 'EdDSA')
    const { payload } = await compactVerify(ED25519_TOKEN, key, { algorithms: ['EdDSA'] })
    expect(new TextDecoder().decode(payload)).toBe('Example of Ed25519 signing')
    await expect(compactVerify(damaged(ED25519_TOKEN), key)).rejects.toThrow('signature verification failed')
  })

  test('what its private key signs, its public key verifies', async () => {
    const token = await new SignJWT(CLAIMS).setProtectedHeader({ alg: 'EdDSA' }).sign(await importJWK(ED25519, 'EdDSA'))
    const options = { algorithms: ['EdDSA'], currentDate: BEFORE_EXPIRY }
    expect((await jwtVerify(token, await importJWK(publicOf(ED25519), 'EdDSA'), options)).payload).toEqual(CLAIMS)
  })
})
