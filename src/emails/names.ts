// What users have chosen, as mails may show it.

const MAX_LENGTH = 2000
const MAX_NAME_LENGTH = 60

/** What joins two letters, as Sinhala and Persian have to, or two signs of an emoji, and hides nothing there. */
const JOINER = /(?<=[\p{L}\p{M}\p{Emoji_Presentation}])[\u200c\u200d](?=[\p{L}\p{Extended_Pictographic}])/u
const OTHER_FORMATS = new RegExp(`(?!${JOINER.source})\\p{Cf}`, 'gu')

/** One line without control characters, and without what reorders or hides text. */
export const clean = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(OTHER_FORMATS, '')
    .trim()
    .slice(0, MAX_LENGTH)

/** Null when the name, of a person or of a device, is none, or could pass for a link or for a code. */
export function safeName(chosen: string): string | null {
  const name = clean(chosen).replace(/\s+/g, ' ')
  // As it is seen: marks and letters that show nothing hide a link or a code from a search, and from nobody else.
  const plain = name.normalize('NFKC').replace(/[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu, '')
  const looksLikeLink = /[/@\\]|\S[.。]\p{L}{2,}/u.test(plain)
  const looksLikeCode = /\p{Nd}{6}/u.test(plain.replace(/[^\p{L}\p{Nd}]/gu, ''))
  const isMisleading = name.length > MAX_NAME_LENGTH || looksLikeLink || looksLikeCode
  return name === '' || isMisleading ? null : name
}
