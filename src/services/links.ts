/** Where mails send people: the product's frontend, or pages of our own. */
export function createLinks(frontendUrl: () => string) {
  const link = (path: string, token?: string) =>
    `${frontendUrl()}${path}${token ? `?token=${encodeURIComponent(token)}` : ''}`
  return {
    home: () => link('/'),
    verifyEmail: (token: string) => link('/verify-email', token),
    resetPassword: (token?: string) => link('/reset-password', token),
  }
}

export type Links = ReturnType<typeof createLinks>
