/** Where mails send people: the product's frontend, or pages of our own. */
export function createLinks(frontendUrl: () => string, publicUrl: () => string, hasFrontend: boolean) {
  const link = (path: string, token?: string, base = frontendUrl()) =>
    `${base}${path}${token ? `?token=${encodeURIComponent(token)}` : ''}`
  return {
    /** Where to sign in, if there is such a place: pages of our own offer it nowhere. */
    home: () => (hasFrontend ? link('/') : undefined),
    verifyEmail: (token: string) => link('/verify-email', token),
    /** Always a page of our own: no frontend has to know of it. */
    notMe: (token: string) => link('/not-me', token, publicUrl()),
    resetPassword: (token?: string) => link('/reset-password', token),
  }
}

export type Links = ReturnType<typeof createLinks>
