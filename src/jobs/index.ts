import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { type JobWithMetadata, PgBoss } from 'pg-boss'
import type { Jobs, Log, Mailer, Sql } from '../ports.js'
import type { BreachCheck } from '../services/breaches.js'
import { byServer } from '../services/client.js'
import type { Services } from '../services/index.js'
import { createOutageLog } from '../services/outages.js'

type Row = Record<string, unknown>

interface Deps {
  /** Runs a statement of pg-boss on the shared pool. */
  execute: (text: string, values?: unknown[]) => Promise<{ rows: Row[] }>
  /** Whether the error says that the database is away. */
  isOutage: (error: unknown) => boolean
  log: Log
}

const SCHEMA = 'jobs'
/** What all workers together take of the shared pool at once: the rest is left to requests. */
const CONNECTIONS = 2
/** Which a standby answers too. */
const READING = /^\s*SELECT\b/i
const POLL_SECONDS = 1
/** Of jobs that have failed before. Others have 0. */
const AGAIN = -1
/** Of what may begin a little later, and of workers beside one that looks as often as it has to be. */
const SELDOM_SECONDS = 15
const PURGE_CRON = '17 * * * *'
const ROTATION_CRON = '47 * * * *'
const EVERY_MINUTE = '* * * * *'
const DAY_SECONDS = 86_400

const SUPERVISE_SECONDS = 5
/** For how long jobs under way may keep the process from its end. */
const PATIENCE_MS = 10_000

// A job whose process was killed is tried again when its heartbeat has failed for this long.
const heartbeatSeconds = 10
const QUEUES = {
  'send-email': { retryLimit: 12, retryDelay: 2, retryBackoff: true, retryDelayMax: 1800, expireInSeconds: 60 },
  'mail-request': { retryLimit: 12, retryDelay: 2, retryBackoff: true, retryDelayMax: 1800, expireInSeconds: 60 },
  'breach-check': { retryLimit: 20, retryDelay: 30, retryBackoff: true, retryDelayMax: 3600, expireInSeconds: 60 },
  'purge-expired': { retryLimit: 2, retryDelay: 60, expireInSeconds: 600 },
  'rotate-keys': { retryLimit: 2, retryDelay: 60, expireInSeconds: 60 },
  'sign-audit-log': { retryLimit: 0, expireInSeconds: 600 },
} as const
type Queue = keyof typeof QUEUES

interface Worker {
  id: string
  /** It looks for more by itself when it is done. */
  isBusy: boolean
  /** Which wake-up call of all was its last one. */
  woken: number
}

/** Whether what failed for the last time is kept: mails are. A digest of a password is not, and what a clock begins comes again. */
const KEPT: ReadonlySet<string> = new Set<Queue>(['send-email', 'mail-request'])

/** Work that leaves the process: pg-boss queues in the same database, so that a job commits with what caused it. */
export function createJobs({ execute, isOutage, log }: Deps) {
  const outage = createOutageLog(
    (error) => log.error({ err: error }, 'The job queue failed'),
    () => log.info({}, 'The job queue works again'),
  )
  /** An outage is seen here: pg-boss hands on its errors as something else, one for each worker. */
  async function executeSql(text: string, values?: unknown[]) {
    const succeeded = outage.attempt()
    try {
      const result = await execute(text, values)
      if (!READING.test(text)) succeeded()
      return result
    } catch (error) {
      if (isOutage(error)) outage.failed(error)
      throw error
    }
  }
  const limit = pLimit(CONNECTIONS)
  const boss = new PgBoss({
    db: { executeSql: (text: string, values?: unknown[]) => limit(executeSql, text, values) },
    schema: SCHEMA,
    superviseIntervalSeconds: SUPERVISE_SECONDS,
    monitorIntervalSeconds: SUPERVISE_SECONDS,
  })
  const workers = new Map<Queue, Worker[]>()
  let isRunning = false
  let wakes = 0
  boss.on('error', (error) => {
    if (!outage.isFailing()) log.error({ err: error }, 'The job queue failed')
  })

  async function createQueue(name: Queue): Promise<void> {
    const deadLetter = `${name}.dead`
    if (KEPT.has(name)) await boss.createQueue(deadLetter, { retentionSeconds: 90 * DAY_SECONDS })
    const options = {
      ...QUEUES[name],
      heartbeatSeconds,
      deleteAfterSeconds: DAY_SECONDS,
      ...(KEPT.has(name) && { deadLetter }),
    }
    await boss.createQueue(name, options)
    await boss.updateQueue(name, options)
  }

  /** A failure is told of before pg-boss hears of it: an operator has to see that no mail goes out. */
  function reportFailure({ name, id, retryCount, retryLimit }: JobWithMetadata<object>, error: unknown): void {
    const fields = { job: id, tries: retryCount + 1 }
    if (retryCount < retryLimit)
      log.warn({ ...fields, reason: String(error) }, `A job of ${name} failed, and will be tried again`)
    else
      log.error(
        { ...fields, err: error },
        `A job of ${name} failed for the last time${KEPT.has(name) ? `. It is kept in the queue ${name}.dead` : ''}`,
      )
  }

  /** Its next try comes after the first ones of others, older as it is. */
  async function putBehind(job: JobWithMetadata<object>, error: unknown): Promise<void> {
    await boss.fail(job.name, job, error as object)
    await boss.update(job.name, undefined, { id: job.id, priority: AGAIN })
  }

  async function work<Data extends object>(
    name: Queue,
    count: number,
    handle: (id: string, data: Data) => Promise<void>,
    { pollSeconds = POLL_SECONDS, minPriority = AGAIN } = {},
  ) {
    const ours = workers.get(name) ?? []
    const run =
      (worker: Worker) =>
      async ([job]: JobWithMetadata<Data>[]) => {
        if (!job) return
        worker.isBusy = true
        try {
          await handle(job.id, job.data)
        } catch (error) {
          reportFailure(job, error)
          await putBehind(job, error)
          throw error
        } finally {
          worker.isBusy = false
          // Else it sleeps after each job, however many wait.
          boss.notifyWorker(worker.id)
        }
      }
    for (let index = 0; index < count; index += 1) {
      const worker = { id: '', isBusy: false, woken: 0 }
      const pollingIntervalSeconds = index === 0 ? pollSeconds : SELDOM_SECONDS
      const options = { batchSize: 1, pollingIntervalSeconds, minPriority, includeMetadata: true } as const
      worker.id = await boss.work<Data, void, typeof options>(name, options, run(worker))
      ours.push(worker)
    }
    workers.set(name, ours)
  }

  /**
   * Has one that is free look for the job that was enqueued: of them all, all but one would look in vain. It is the one that
   * was woken first: who was woken just now may have a job already.
   */
  function wake(queue: Queue): void {
    const free = workers.get(queue)?.filter(({ isBusy }) => !isBusy) ?? []
    const [next] = free.sort((one, other) => one.woken - other.woken)
    if (!next) return
    wakes += 1
    next.woken = wakes
    boss.notifyWorker(next.id)
  }

  const workByTheClock = (name: Queue, handle: () => Promise<void>) =>
    work(name, 1, handle, { pollSeconds: SELDOM_SECONDS })

  const through = (sql: Sql) => ({
    db: { executeSql: async (text: string, values?: unknown[]) => ({ rows: await sql(text, values ?? []) }) },
  })

  const jobs = {
    async enqueue(sql, queue, data) {
      await boss.send(queue, data, through(sql))
    },
    async complete(sql, queue, id) {
      const { affected } = (await boss.complete(queue, id, null, through(sql))) as unknown as { affected: number }
      return affected === 1
    },
    wake,
  } satisfies Jobs

  return {
    ...jobs,
    isRunning: () => isRunning && !outage.isFailing(),

    /** Makes the queues. Call before anything is enqueued. */
    async prepare(): Promise<void> {
      await boss.start()
      for (const name of Object.keys(QUEUES) as Queue[]) await createQueue(name)
    },

    /** Begins to work. */
    async start(services: Services, mailer: Mailer): Promise<void> {
      const send = (id: string, { sealed }: { sealed: string }) => mailer.send(services.mails.render(sealed), id)
      await work('send-email', 2, send)
      // Those that a mail server is slow to refuse, for their domain say, come again and again: not to these.
      await work('send-email', 3, send, { minPriority: AGAIN + 1 })
      await work<{ sealed: string }>('mail-request', 2, (id, { sealed }) => services.requestedMails.fulfil(id, sealed))
      const check = (id: string, data: BreachCheck) => services.breaches.check(byServer(`job-${id}`), id, data)
      await work('breach-check', 1, check, { pollSeconds: SELDOM_SECONDS })
      await workByTheClock('purge-expired', async () => {
        log.info({ purged: await services.maintenance.purge() }, 'Expired records were removed')
      })
      await workByTheClock('rotate-keys', async () => {
        const kid = await services.signingKeys.rotateIfDue()
        if (kid) log.info({ kid }, 'The signing key was replaced')
      })
      await workByTheClock('sign-audit-log', services.checkpoints.signIfDue)
      await boss.schedule('sign-audit-log', EVERY_MINUTE)
      await boss.schedule('purge-expired', PURGE_CRON)
      await boss.schedule('rotate-keys', ROTATION_CRON)
      isRunning = true
    },

    /** Lets jobs under way finish, for a while. */
    async stop(): Promise<void> {
      isRunning = false
      const ended = Promise.all([...workers.keys()].map((queue) => boss.offWork(queue)))
      await Promise.race([ended, sleep(PATIENCE_MS, null, { ref: false })])
      // Which would wait as well, but looks twice a second only.
      await boss.stop({ graceful: false })
    },
  }
}
