/** No form or URL that we read has as many. */
const MAX_FIELDS = 20

/** To read thousands takes long, and of each that is no UTF-8 Node makes an error. */
const firstFields = (text: string) => text.split('&', MAX_FIELDS).join('&')

export const formOf = (body: Buffer) => new URLSearchParams(firstFields(body.toString()))

/** Where a request goes. Its host has no say in anything. */
export function urlOf({ url = '' }: { url?: string | undefined }): URL {
  const read = new URL(url, 'http://localhost/')
  read.search = firstFields(read.search)
  return read
}
