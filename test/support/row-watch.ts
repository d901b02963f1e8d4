import pg from 'pg'
import { afterAll } from 'vitest'
import type { Installation } from './installation.js'

/** What has become of a row. */
export interface RowChange {
  table: string
  operation: 'INSERT' | 'UPDATE' | 'DELETE'
  /** The columns whose values are others now: all of them unless it is an update. */
  columns: string[]
  row: Record<string, unknown>
}

// Triggers of every table, those to come in a partition included, write down what changes in a transaction.
const WATCH = `
  CREATE SCHEMA watch;
  CREATE TABLE watch.changes (at bigserial, "table" text, operation text, before jsonb, after jsonb);
  CREATE FUNCTION watch.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO watch.changes ("table", operation, before, after) VALUES (TG_ARGV[0], TG_OP,
      CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
  END $$;
  DO $$ DECLARE t record; BEGIN
    FOR t IN SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname IN ('public', 'jobs') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    LOOP
      EXECUTE format('CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON %I.%I FOR EACH ROW EXECUTE FUNCTION watch.note(%L)',
        t.nspname, t.relname, t.nspname || '.' || t.relname);
    END LOOP;
  END $$`
const TAKE = `
  WITH taken AS (DELETE FROM watch.changes RETURNING *)
  SELECT "table", operation, coalesce(after, before) AS row, ARRAY(
    SELECT key FROM jsonb_each(coalesce(after, before))
    WHERE after IS NULL OR before IS NULL OR after -> key IS DISTINCT FROM before -> key) AS columns
  FROM taken ORDER BY at`

/** Watches every row of the database for changes. Ends with the file. */
export async function watchRows({ databaseUrl }: Pick<Installation, 'databaseUrl'>) {
  const database = new pg.Client(databaseUrl)
  await database.connect()
  afterAll(() => database.end())
  await database.query(WATCH)
  return {
    /** What has changed since this was asked last. */
    async take(): Promise<RowChange[]> {
      const { rows } = await database.query<RowChange>(TAKE)
      return rows.filter(({ columns }) => columns.length > 0)
    },
  }
}
