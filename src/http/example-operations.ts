// The tabs that GraphiQL opens with: the story of an account, from registering to live alerts.

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
    ... on WeakPasswordError {
      code
      message
      violations {
        rule
        message
      }
    }
    ... on UsernameTakenError {
      code
      message
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
    ... on InvalidTokenError {
      code
      message
    }
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
    ... on InvalidCredentialsError {
      code
      message
    }
    ... on AccountLockedError {
      code
      message
      lockedUntil
    }
    ... on EmailNotVerifiedError {
      code
      message
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
    lastLoginAt
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
        city
        country
        isCurrent
        lastActivityAt
        expiresAt
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
  auditLog(
    first: 20
    filter: { minRiskLevel: LOW }
  ) {
    edges {
      cursor
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

export const EXAMPLE_TABS = [
  { query: REGISTER, headers: '{}' },
  { query: VERIFY_EMAIL, headers: '{}' },
  { query: LOGIN, headers: '{}' },
  { query: ME, headers: withToken },
  { query: SESSIONS, headers: withToken },
  { query: AUDIT_LOG, headers: withToken },
  { query: SECURITY_ALERTS, headers: withToken },
]
