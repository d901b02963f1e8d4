import type { TestApp } from './app.js'
import { AuditChainDocument, UpdateProfileDocument } from './generated/graphql.js'
import type { User } from './user.js'

/** An event for each change of a profile. */
export async function makeEvents(user: User, count: number): Promise<void> {
  for (let done = 0; done < count; done += 1)
    await user.call(UpdateProfileDocument, { input: { firstName: `Ada ${done}` } })
}

/** What the API finds when it verifies the whole log. */
export const chainOf = async (app: TestApp) => (await app.auditor()).call(AuditChainDocument)
