-- Indexes for a log of many millions of events: every page is read from the front of a few index ranges, whatever its
-- filter is, and no condition is left for the rows themselves (docs/decisions/0012-pages-of-the-audit-log.md).
-- Type, risk and success come together in all of them: a few dozen kinds of events.

DROP INDEX "audit_events_user_id_position_idx";
DROP INDEX "audit_events_session_id_position_idx";
DROP INDEX "audit_events_type_position_idx";
DROP INDEX "audit_events_risk_level_position_idx";
DROP INDEX "audit_events_ip_address_position_idx";
DROP INDEX "audit_events_occurred_at_idx";

CREATE INDEX "audit_events_kind_idx" ON "audit_events"("type", "risk_level", "success", "position")
  INCLUDE ("occurred_at");
CREATE INDEX "audit_events_user_idx" ON "audit_events"("user_id", "type", "risk_level", "success", "position")
  INCLUDE ("occurred_at") WHERE "user_id" IS NOT NULL;
CREATE INDEX "audit_events_ip_address_idx" ON "audit_events"("ip_address", "type", "risk_level", "success", "position")
  INCLUDE ("occurred_at") WHERE "ip_address" IS NOT NULL;
CREATE INDEX "audit_events_user_ip_address_idx"
  ON "audit_events"("user_id", "ip_address", "type", "risk_level", "success", "position")
  INCLUDE ("occurred_at") WHERE "user_id" IS NOT NULL AND "ip_address" IS NOT NULL;
-- A session has one account and, by the limits of rates, some ten thousand events at most: what else a filter asks is read along.
CREATE INDEX "audit_events_session_idx" ON "audit_events"("session_id", "type", "risk_level", "success", "position")
  INCLUDE ("occurred_at", "user_id", "ip_address") WHERE "session_id" IS NOT NULL;

-- Positions are nearly in the order of time, but not quite. Which stretches of 16384 positions have events of a time?
CREATE INDEX "audit_events_stretch_idx" ON "audit_events"(("position" >> 14), "occurred_at");

-- For the dashboard: which addresses guess passwords.
CREATE INDEX "audit_events_failed_login_idx" ON "audit_events"("occurred_at") INCLUDE ("ip_address", "user_id")
  WHERE "type" = 'LOGIN_FAILED' AND "ip_address" IS NOT NULL;

-- For the removal of old events.
CREATE INDEX "audit_events_occurred_at_idx" ON "audit_events" USING brin ("occurred_at")
  WITH (pages_per_range = 32, autosummarize = on);

-- An index answers alone only for what was vacuumed; by default that would be when the log has grown by a fifth.
ALTER TABLE "audit_events" SET (autovacuum_vacuum_insert_scale_factor = 0.01);
