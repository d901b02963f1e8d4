/** What statements, and those who read their answers, rely on, whatever is usual in this database or for this role. */
const RELIED_ON = {
  datestyle: 'ISO',
  timezone: 'UTC',
  standard_conforming_strings: 'on',
  default_transaction_isolation: 'read committed',
}

/** From PostgreSQL 17 on there is one more, which ends migrations. */
const NO_TRANSACTION_TIMEOUT = `SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'`

/** For the begin of a connection: as parameters of its start, poolers refuse most of it. */
export const sessionSettings = (more: Record<string, number | string>): string =>
  Object.entries({ ...RELIED_ON, ...more })
    .map(([name, value]) => `SET ${name} = '${value}'`)
    .concat(NO_TRANSACTION_TIMEOUT)
    .join('; ')
