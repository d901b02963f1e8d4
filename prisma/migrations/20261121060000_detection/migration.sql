-- Detection of suspicious activity: how far the log was judged, what was raised lately, and indexes for looking back.

-- CreateTable
CREATE TABLE "audit_detector" (
    "id" SMALLINT NOT NULL DEFAULT 1,
    "position" BIGINT NOT NULL,

    CONSTRAINT "audit_detector_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_detections" (
    "rule" VARCHAR(40) NOT NULL,
    "subject" VARCHAR(120) NOT NULL,
    "quiet_until" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "audit_detections_pkey" PRIMARY KEY ("rule","subject")
);

-- CreateIndex
CREATE INDEX "audit_detections_quiet_until_idx" ON "audit_detections"("quiet_until");

-- What the Prisma schema cannot say ---------------------------------------------------------------------------------

-- One row. What happened before there was detection is not judged.
ALTER TABLE "audit_detector" ADD CONSTRAINT "audit_detector_one_row" CHECK ("id" = 1);
INSERT INTO "audit_detector" ("position") SELECT coalesce(max("position"), 0) FROM "audit_events";

-- What addresses are told apart by: all of an IPv4 address, the /64 of an IPv6 address. An index calls it while events are
-- sealed, so it must never fail, whatever the text is.
CREATE FUNCTION audit_network(address text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF position(':' IN address) = 0 THEN
    RETURN address;
  END IF;
  RETURN network(set_masklen(address::inet, 64))::text;
EXCEPTION WHEN data_exception THEN
  RETURN address;
END $$;

-- A session renews itself every quarter of an hour: among all events of an account or of an address, the few that detection
-- looks back on would be far apart.
CREATE INDEX "audit_events_account_attempts_idx" ON "audit_events"("user_id", "type", "position" DESC)
  WHERE "type" IN ('LOGIN_SUCCEEDED', 'LOGIN_FAILED', 'ACCOUNT_LOCKED', 'PASSWORD_RESET_REQUESTED');
CREATE INDEX "audit_events_network_attempts_idx" ON "audit_events"(audit_network("ip_address"), "type", "position" DESC)
  WHERE "type" IN ('LOGIN_FAILED', 'PASSWORD_RESET_REQUESTED');
