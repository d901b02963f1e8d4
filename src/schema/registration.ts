import { builder } from './builder.js'
import {
  accepted,
  code,
  email,
  locale,
  name,
  newEmail,
  optional,
  password,
  shape,
  timezone,
  token,
  username,
} from './shapes.js'

export interface ProofInput {
  token?: string | null | undefined
  email?: string | null | undefined
  code?: string | null | undefined
}

/** The token of a link, or the address and the code of the same mail: one of the two, whole. */
export function oneProof({ token: link, email: address, code: digits }: ProofInput): string | null {
  const isOne = link != null ? address == null && digits == null : address != null && digits != null
  return isOne ? null : 'Give either the token, or the e-mail address and the code.'
}

export const RegisterInput = builder.inputType('RegisterInput', {
  validate: shape({
    email: newEmail,
    password,
    username: optional(username),
    firstName: optional(name),
    lastName: optional(name),
    displayName: optional(name),
    locale: optional(locale),
    timezone: optional(timezone),
    termsAccepted: accepted,
    privacyPolicyAccepted: accepted,
  }),
  fields: (t) => ({
    email: t.string({ required: true }),
    password: t.string({ required: true }),
    username: t.string({ description: '3 to 32 letters, digits, dots, hyphens or underscores.' }),
    firstName: t.string(),
    lastName: t.string(),
    displayName: t.string(),
    locale: t.string({ description: 'BCP 47; en by default.' }),
    timezone: t.string({ description: 'IANA; UTC by default.' }),
    termsAccepted: t.boolean({ required: true, description: 'Must be true.' }),
    privacyPolicyAccepted: t.boolean({ required: true, description: 'Must be true.' }),
  }),
})

export const VerifyEmailInput = builder.inputType('VerifyEmailInput', {
  description: 'Either the token of the link, or the address and the six-digit code of the same mail.',
  validate: shape(
    {
      token: optional(token),
      email: optional(email),
      code: optional(code),
    },
    oneProof,
  ),
  fields: (t) => ({
    token: t.string(),
    email: t.string(),
    code: t.string(),
  }),
})

export const ResendVerificationEmailInput = builder.inputType('ResendVerificationEmailInput', {
  fields: (t) => ({ email: t.string({ required: true, validate: email }) }),
})

export const RegisterSuccess = builder.objectRef<{ email: string; message: string }>('RegisterSuccess').implement({
  description: 'The same for a new and for a known address; the owner of a known one gets a mail that says so.',
  fields: (t) => ({ email: t.exposeString('email'), message: t.exposeString('message') }),
})

export const VerifyEmailSuccess = builder
  .objectRef<{ email: string; exchangeToken: string }>('VerifyEmailSuccess')
  .implement({
    fields: (t) => ({
      email: t.exposeString('email'),
      exchangeToken: t.exposeString('exchangeToken', { description: 'Signs the new user in (exchangeToken).' }),
    }),
  })

export const ResendVerificationEmailSuccess = builder
  .objectRef<{ message: string }>('ResendVerificationEmailSuccess')
  .implement({ fields: (t) => ({ message: t.exposeString('message') }) })
