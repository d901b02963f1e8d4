-- Tamper evidence: sealed events form a hash chain, signed checkpoints hold it, and triggers keep it as it is.

-- Events from before the chain go back to the inbox, in their order, and are sealed anew.
SELECT seal_audit_events(2147483647);
INSERT INTO "audit_inbox" ("event_id", "type", "occurred_at", "success", "risk_level", "user_id", "session_id", "ip_address",
                           "user_agent", "city", "country", "correlation_id", "metadata")
SELECT "id", "type", "occurred_at", "success", "risk_level", "user_id", "session_id", "ip_address", "user_agent", "city",
       "country", "correlation_id", "metadata"
FROM "audit_events" ORDER BY "position";
DELETE FROM "audit_events";

-- CreateEnum
CREATE TYPE "audit_checkpoint_kind" AS ENUM ('CHECKPOINT', 'RETENTION');

-- AlterTable
ALTER TABLE "audit_events" ADD COLUMN     "commitment" BYTEA NOT NULL,
ADD COLUMN     "hash" BYTEA NOT NULL,
ADD COLUMN     "salt" BYTEA;

-- CreateTable
CREATE TABLE "audit_checkpoints" (
    "kind" "audit_checkpoint_kind" NOT NULL,
    "position" BIGINT NOT NULL,
    "hash" BYTEA NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "kid" VARCHAR(64) NOT NULL,
    "jws" TEXT NOT NULL,

    CONSTRAINT "audit_checkpoints_pkey" PRIMARY KEY ("kind","position")
);

-- CreateIndex
CREATE INDEX "audit_checkpoints_kid_idx" ON "audit_checkpoints"("kid");

-- What the Prisma schema cannot say ---------------------------------------------------------------------------------

-- hash = SHA-256(hash of the previous event || content): see docs/audit-log.md.
CREATE FUNCTION audit_chain_step(state bytea, previous bytea, content text) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN sha256(coalesce(state, previous) || convert_to(content, 'UTF8'));
END $$;
CREATE AGGREGATE audit_chain(previous bytea, content text) (sfunc = audit_chain_step, stype = bytea);

-- Moves committed events from the inbox to the log, oldest first, numbers them and chains them. One caller at a time over
-- all processes: the lock is taken by a statement of its own, so that the next one sees everything committed before it.
CREATE OR REPLACE FUNCTION seal_audit_events(batch_size integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  sealed integer;
BEGIN
  PERFORM pg_advisory_xact_lock(7270736901);
  WITH taken AS (
    DELETE FROM audit_inbox WHERE id IN (SELECT id FROM audit_inbox ORDER BY id LIMIT batch_size) RETURNING *
  ), head AS (
    SELECT position, hash FROM (
      (SELECT position, hash FROM audit_events ORDER BY position DESC LIMIT 1)
      UNION ALL (SELECT position, hash FROM audit_checkpoints WHERE kind = 'RETENTION' ORDER BY position DESC LIMIT 1)
      UNION ALL SELECT 0, decode(repeat('00', 32), 'hex')
    ) AS ends ORDER BY position DESC LIMIT 1
  ), numbered AS MATERIALIZED (
    SELECT taken.*, head.position + row_number() OVER (ORDER BY taken.id) AS position, head.hash AS previous,
           uuid_send(gen_random_uuid()) AS salt
    FROM taken, head
  ), committed AS MATERIALIZED (
    SELECT *, sha256(salt || convert_to(json_build_array(
      ip_address, user_agent, city, country, metadata)::text, 'UTF8')) AS commitment
    FROM numbered
  )
  INSERT INTO audit_events (position, id, type, occurred_at, success, risk_level, user_id, session_id, ip_address,
                            user_agent, city, country, correlation_id, metadata, salt, commitment, hash)
  SELECT position, event_id, type, occurred_at, success, risk_level, user_id, session_id, ip_address, user_agent, city,
         country, correlation_id, metadata, salt, commitment,
         audit_chain(previous, json_build_array(
           position, event_id, type, (extract(epoch FROM occurred_at) * 1000)::bigint, success, risk_level, user_id,
           session_id, correlation_id, encode(commitment, 'hex'))::text) OVER (ORDER BY position)
  FROM committed;
  GET DIAGNOSTICS sealed = ROW_COUNT;
  RETURN sealed;
END $$;

-- A sealed event stays as it is. Two ways out: what is personal in it may be erased, and what a signed stub stands for
-- may be removed. Whoever forges a stub cannot sign it.
CREATE FUNCTION guard_audit_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  erased audit_events;
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM audit_checkpoints WHERE kind = 'RETENTION' AND position >= OLD.position) THEN
      RETURN OLD;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    erased := OLD;
    erased.ip_address := NULL;
    erased.user_agent := NULL;
    erased.city := NULL;
    erased.country := NULL;
    erased.metadata := '{}';
    erased.salt := NULL;
    IF NEW IS NOT DISTINCT FROM erased THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'Sealed audit events cannot be changed or removed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER guard_audit_events BEFORE UPDATE OR DELETE ON audit_events
  FOR EACH ROW EXECUTE FUNCTION guard_audit_events();
CREATE TRIGGER guard_audit_events_truncate BEFORE TRUNCATE ON audit_events
  FOR EACH STATEMENT EXECUTE FUNCTION guard_audit_events();

-- Checkpoints are removed only with the events that they hold, and change only by whom they are signed.
CREATE FUNCTION guard_audit_checkpoints() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND EXISTS (
    SELECT FROM audit_checkpoints WHERE kind = 'RETENTION' AND position >= OLD.position AND (kind, position) <> (OLD.kind, OLD.position)
  ) THEN
    RETURN OLD;
  END IF;
  IF TG_OP = 'UPDATE' AND (NEW.kind, NEW.position, NEW.hash, NEW.created_at) = (OLD.kind, OLD.position, OLD.hash, OLD.created_at) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'Audit checkpoints cannot be changed or removed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER guard_audit_checkpoints BEFORE UPDATE OR DELETE ON audit_checkpoints
  FOR EACH ROW EXECUTE FUNCTION guard_audit_checkpoints();
CREATE TRIGGER guard_audit_checkpoints_truncate BEFORE TRUNCATE ON audit_checkpoints
  FOR EACH STATEMENT EXECUTE FUNCTION guard_audit_checkpoints();
