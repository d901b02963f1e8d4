// The tabs that GraphiQL opens with: the story of an account, from registering to live alerts.

const USER_ERROR = `... on UserError {
      code
      message
    }`

export const withToken = JSON.stringify({ authorization: 'Bearer <paste accessToken here>' }, null, 2)

const REGISTER = `# 1. Press play, then open the mail that has come
# to /dev/mailbox.
mutation Register {
  register(
    input: {
      email: "ada@example.com"
      password: "violet-harbour-41-lantern"
      displayName: "Ada"
      termsAccepted: true
      privacyPolicyAccepted: true
    }
  ) {
    ... on RegisterSuccess {
      email
      message
    }
    ${USER_ERROR}
    ... on WeakPasswordError {
      violations {
        rule
        message
      }
    }
  }
}
`

const VERIFY_EMAIL = `# 2. Replace 000000 by the code of the mail.
mutation VerifyEmail {
  verifyEmail(
    input: {
      email: "ada@example.com"
      code: "000000"
    }
  ) {
    ... on VerifyEmailSuccess {
      email
    }
    ${USER_ERROR}
  }
}
`

const LOGIN = `# 3. Sign in, then copy the accessToken.
mutation Login {
  login(
    input: {
      identifier: "ada@example.com"
      password: "violet-harbour-41-lantern"
      tokenDelivery: BODY
    }
  ) {
    ... on LoginSuccess {
      authentication {
        accessToken
        expiresAt
        refreshToken
        user {
          displayName
        }
        session {
          deviceName
        }
      }
    }
    ${USER_ERROR}
    ... on AccountLockedError {
      lockedUntil
    }
  }
}
`

const ME = `# 4. Who you are.
# Paste the accessToken into the headers below.
query Me {
  me {
    id
    email
    displayName
    emailVerified
    role
    permissions
    currentSession {
      id
      deviceName
      expiresAt
    }
  }
}
`

const SESSIONS = `# 5. Where you are signed in.
# Paste the accessToken into the headers below.
query Sessions {
  sessions(first: 10) {
    edges {
      node {
        id
        deviceName
        deviceType
        ipAddress
        isCurrent
        lastActivityAt
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`

const AUDIT_LOG = `# 6. What happened to your account, newest first.
# Paste the accessToken into the headers below.
query AuditLog {
  auditLog(first: 20) {
    edges {
      node {
        type
        occurredAt
        success
        riskLevel
        description
        ipAddress
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`

const SECURITY_ALERTS = `# 7. What happens to your account, live.
# Paste the accessToken into the headers below.
# Press play, then sign in from another window.
subscription SecurityAlerts {
  securityAlerts(minRiskLevel: LOW) {
    cursor
    node {
      type
      occurredAt
      riskLevel
      description
      ipAddress
    }
  }
}
`

const REFRESH = `# 8. A new pair of tokens for the old one.
# Paste the refreshToken of the login.
mutation Refresh {
  refresh(
    input: {
      refreshToken: "<paste refreshToken here>"
    }
  ) {
    ... on RefreshSuccess {
      outcome
      authentication {
        accessToken
        refreshToken
      }
    }
    ${USER_ERROR}
  }
}
`

const TERMINATE_SESSION = `# 9. Ends one of your sessions at once.
# Sign in once more, then paste the id of the
# session that is not current (tab Sessions),
# and the accessToken into the headers below.
mutation TerminateSession {
  terminateSession(
    input: { sessionId: "<paste id here>" }
  ) {
    ... on TerminateSessionSuccess {
      session {
        deviceName
        isActive
      }
    }
    ${USER_ERROR}
  }
}
`

const CHANGE_PASSWORD = `# 10. Ends every other session and your tokens.
# Paste the accessToken into the headers below.
# From here on the new accessToken of the answer
# goes there, and the password to sign in with is
# copper-lagoon-58.
mutation ChangePassword {
  changePassword(
    input: {
      currentPassword:
        "violet-harbour-41-lantern"
      newPassword: "copper-lagoon-58"
    }
  ) {
    ... on ChangePasswordSuccess {
      terminatedSessions
      authentication {
        accessToken
        refreshToken
      }
    }
    ${USER_ERROR}
    ... on WeakPasswordError {
      violations {
        rule
        message
      }
    }
  }
}
`

export const EXAMPLE_TABS = [
  { query: REGISTER, headers: '{}' },
  { query: VERIFY_EMAIL, headers: '{}' },
  { query: LOGIN, headers: '{}' },
  { query: ME, headers: withToken },
  { query: SESSIONS, headers: withToken },
  { query: AUDIT_LOG, headers: withToken },
  { query: SECURITY_ALERTS, headers: withToken },
  { query: REFRESH, headers: '{}' },
  { query: TERMINATE_SESSION, headers: withToken },
  { query: CHANGE_PASSWORD, headers: withToken },
]
