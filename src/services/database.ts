import type { Prisma, PrismaClient } from '../generated/prisma/client.js'
import type { Sql } from '../ports.js'

/** Where statements run: one transaction, or, on Database itself, each statement by itself. */
export interface Transaction {
  prisma: Prisma.TransactionClient
  /** Hot paths: one prepared statement in place of several round trips through Prisma. */
  sql: Sql
  /** Runs the effect once the change is durable: after COMMIT, or at once where there is no transaction. */
  afterCommit(effect: () => Promise<void> | void): Promise<void>
}

export interface Database extends Transaction {
  prisma: PrismaClient
  /** Whether the connection was lost, or there was none: no fault of the statement. */
  isConnectionLost(error: unknown): boolean
  /** READ COMMITTED, short, retried on serialization failures and deadlocks: no hashing and no network inside. */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
}
