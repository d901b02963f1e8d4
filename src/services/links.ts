/** Where mails send people: the product's frontend, or pages of our own. */
export function createLinks(frontendUrl: () => string, publicUrl: () => string) {
  const link = (path: string, token?: string, base = frontendUrl()) =>
    `${base}${path}${token ? `?token=${encodeURIComponent(token)}` : ''}`
  return {
    home: () => link('/'),
    verifyEmail: (token: string) => link('/verify-email', token),
    /** Always a page of our own: no frontend has to know of it. */
    notMe: (token: string) => link('/not-me', token, publicUrl()),
    resetPassword: (token?: string) => link('/reset-password', token),
  }
}

export type Links = ReturnType<typeof createLinks>
