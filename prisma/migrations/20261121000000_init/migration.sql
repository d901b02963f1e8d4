-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateEnum
CREATE TYPE "device_type" AS ENUM ('DESKTOP', 'MOBILE', 'TABLET', 'BOT', 'UNKNOWN');

-- CreateEnum
CREATE TYPE "session_end_reason" AS ENUM ('LOGOUT', 'TERMINATED', 'PASSWORD_CHANGED', 'PASSWORD_RESET', 'TOKEN_REUSED', 'EXPIRED', 'ADMIN');

-- CreateEnum
CREATE TYPE "refresh_token_state" AS ENUM ('LIVE', 'ROTATED');

-- CreateEnum
CREATE TYPE "one_time_purpose" AS ENUM ('EMAIL_VERIFICATION', 'PASSWORD_RESET', 'EXCHANGE', 'NOT_ME');

-- CreateEnum
CREATE TYPE "audit_event_type" AS ENUM ('REGISTERED', 'EMAIL_VERIFICATION_SENT', 'EMAIL_VERIFIED', 'LOGIN_SUCCEEDED', 'LOGIN_FAILED', 'ACCOUNT_LOCKED', 'ACCOUNT_UNLOCKED', 'LOGGED_OUT', 'TOKEN_REFRESHED', 'TOKEN_REUSE_DETECTED', 'TOKEN_EXCHANGED', 'PASSWORD_CHANGED', 'PASSWORD_CHANGE_FAILED', 'PASSWORD_RESET_REQUESTED', 'PASSWORD_RESET_COMPLETED', 'PASSWORD_FOUND_IN_BREACH', 'SESSION_CREATED', 'SESSION_TERMINATED', 'NEW_DEVICE', 'SUSPICIOUS_LOGIN', 'RATE_LIMIT_EXCEEDED', 'PROFILE_UPDATED');

-- CreateEnum
CREATE TYPE "risk_level" AS ENUM ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL');

-- CreateTable
CREATE TABLE "users" (
    "id" UUID NOT NULL,
    "email" VARCHAR(254) NOT NULL,
    "email_normalized" VARCHAR(254) NOT NULL,
    "username" VARCHAR(64),
    "username_normalized" VARCHAR(64),
    "first_name" VARCHAR(100),
    "last_name" VARCHAR(100),
    "display_name" VARCHAR(100),
    "locale" VARCHAR(35) NOT NULL DEFAULT 'en',
    "timezone" VARCHAR(64) NOT NULL DEFAULT 'UTC',
    "password_hash" VARCHAR(255) NOT NULL,
    "password_changed_at" TIMESTAMPTZ(3) NOT NULL,
    "email_verified_at" TIMESTAMPTZ(3),
    "pending_until" TIMESTAMPTZ(3),
    "terms_accepted_at" TIMESTAMPTZ(3),
    "privacy_accepted_at" TIMESTAMPTZ(3),
    "last_login_at" TIMESTAMPTZ(3),
    "is_active" BOOLEAN NOT NULL DEFAULT true,
    "role" VARCHAR(50) NOT NULL DEFAULT 'user',
    "granted_permissions" VARCHAR(100)[] DEFAULT ARRAY[]::VARCHAR(100)[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "users_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "roles" (
    "name" VARCHAR(50) NOT NULL,
    "description" VARCHAR(200) NOT NULL,

    CONSTRAINT "roles_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "permissions" (
    "name" VARCHAR(100) NOT NULL,
    "description" VARCHAR(200) NOT NULL,

    CONSTRAINT "permissions_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "sessions" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "device_name" VARCHAR(100) NOT NULL,
    "device_type" "device_type" NOT NULL,
    "browser" VARCHAR(100),
    "os" VARCHAR(100),
    "user_agent" VARCHAR(512),
    "device_fingerprint" VARCHAR(64) NOT NULL,
    "ip_address" VARCHAR(45),
    "city" VARCHAR(100),
    "country" VARCHAR(2),
    "remember_me" BOOLEAN NOT NULL,
    "amr" VARCHAR(10)[],
    "second_factor_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "last_activity_at" TIMESTAMPTZ(3) NOT NULL,
    "last_rotation_at" TIMESTAMPTZ(3),
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "ended_at" TIMESTAMPTZ(3),
    "end_reason" "session_end_reason",

    CONSTRAINT "sessions_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "refresh_tokens" (
    "hash" BYTEA NOT NULL,
    "session_id" UUID NOT NULL,
    "parent_hash" BYTEA,
    "state" "refresh_token_state" NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "rotated_at" TIMESTAMPTZ(3),
    "sealed_successor" BYTEA,

    CONSTRAINT "refresh_tokens_pkey" PRIMARY KEY ("hash")
);

-- CreateTable
CREATE TABLE "one_time_tokens" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "purpose" "one_time_purpose" NOT NULL,
    "token_hash" BYTEA NOT NULL,
    "code_hash" BYTEA,
    "code_tries" INTEGER NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "used_at" TIMESTAMPTZ(3),

    CONSTRAINT "one_time_tokens_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "password_history" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "password_hash" VARCHAR(255) NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "password_history_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "login_throttles" (
    "key" VARCHAR(80) NOT NULL,
    "user_id" UUID,
    "failures" INTEGER NOT NULL,
    "last_failure_at" TIMESTAMPTZ(3) NOT NULL,
    "locked_until" TIMESTAMPTZ(3),

    CONSTRAINT "login_throttles_pkey" PRIMARY KEY ("key")
);

-- CreateTable
CREATE TABLE "audit_inbox" (
    "id" BIGSERIAL NOT NULL,
    "event_id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "type" "audit_event_type" NOT NULL,
    "occurred_at" TIMESTAMPTZ(3) NOT NULL,
    "success" BOOLEAN NOT NULL,
    "risk_level" "risk_level" NOT NULL,
    "user_id" UUID,
    "session_id" UUID,
    "ip_address" VARCHAR(45),
    "user_agent" VARCHAR(512),
    "city" VARCHAR(100),
    "country" VARCHAR(2),
    "correlation_id" VARCHAR(100),
    "metadata" JSONB NOT NULL DEFAULT '{}',

    CONSTRAINT "audit_inbox_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_events" (
    "position" BIGINT NOT NULL,
    "id" UUID NOT NULL,
    "type" "audit_event_type" NOT NULL,
    "occurred_at" TIMESTAMPTZ(3) NOT NULL,
    "success" BOOLEAN NOT NULL,
    "risk_level" "risk_level" NOT NULL,
    "user_id" UUID,
    "session_id" UUID,
    "ip_address" VARCHAR(45),
    "user_agent" VARCHAR(512),
    "city" VARCHAR(100),
    "country" VARCHAR(2),
    "correlation_id" VARCHAR(100),
    "metadata" JSONB NOT NULL,

    CONSTRAINT "audit_events_pkey" PRIMARY KEY ("position")
);

-- CreateTable
CREATE TABLE "mailbox_messages" (
    "id" UUID NOT NULL,
    "recipient" VARCHAR(254) NOT NULL,
    "subject" TEXT NOT NULL,
    "text" TEXT NOT NULL,
    "html" TEXT NOT NULL,
    "sent_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "mailbox_messages_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "signing_keys" (
    "kid" VARCHAR(64) NOT NULL,
    "algorithm" VARCHAR(10) NOT NULL,
    "public_jwk" JSONB NOT NULL,
    "sealed_private" BYTEA NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "retired_at" TIMESTAMPTZ(3),

    CONSTRAINT "signing_keys_pkey" PRIMARY KEY ("kid")
);

-- CreateTable
CREATE TABLE "_role_permissions" (
    "A" VARCHAR(100) NOT NULL,
    "B" VARCHAR(50) NOT NULL,

    CONSTRAINT "_role_permissions_AB_pkey" PRIMARY KEY ("A","B")
);

-- CreateIndex
CREATE UNIQUE INDEX "users_username_normalized_key" ON "users"("username_normalized");

-- CreateIndex
CREATE INDEX "users_email_normalized_created_at_idx" ON "users"("email_normalized", "created_at");

-- CreateIndex
CREATE INDEX "users_role_idx" ON "users"("role");

-- CreateIndex
CREATE INDEX "sessions_user_id_last_activity_at_id_idx" ON "sessions"("user_id", "last_activity_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "sessions_user_id_device_fingerprint_idx" ON "sessions"("user_id", "device_fingerprint");

-- CreateIndex
CREATE INDEX "sessions_expires_at_idx" ON "sessions"("expires_at");

-- CreateIndex
CREATE INDEX "refresh_tokens_session_id_idx" ON "refresh_tokens"("session_id");

-- CreateIndex
CREATE UNIQUE INDEX "one_time_tokens_token_hash_key" ON "one_time_tokens"("token_hash");

-- CreateIndex
CREATE INDEX "one_time_tokens_user_id_purpose_idx" ON "one_time_tokens"("user_id", "purpose");

-- CreateIndex
CREATE INDEX "one_time_tokens_expires_at_idx" ON "one_time_tokens"("expires_at");

-- CreateIndex
CREATE INDEX "password_history_user_id_created_at_idx" ON "password_history"("user_id", "created_at" DESC);

-- CreateIndex
CREATE INDEX "login_throttles_user_id_idx" ON "login_throttles"("user_id");

-- CreateIndex
CREATE INDEX "login_throttles_locked_until_idx" ON "login_throttles"("locked_until");

-- CreateIndex
CREATE INDEX "login_throttles_last_failure_at_idx" ON "login_throttles"("last_failure_at");

-- CreateIndex
CREATE INDEX "audit_events_user_id_position_idx" ON "audit_events"("user_id", "position" DESC);

-- CreateIndex
CREATE INDEX "audit_events_session_id_position_idx" ON "audit_events"("session_id", "position" DESC);

-- CreateIndex
CREATE INDEX "audit_events_type_position_idx" ON "audit_events"("type", "position" DESC);

-- CreateIndex
CREATE INDEX "audit_events_risk_level_position_idx" ON "audit_events"("risk_level", "position" DESC);

-- CreateIndex
CREATE INDEX "audit_events_ip_address_position_idx" ON "audit_events"("ip_address", "position" DESC);

-- CreateIndex
CREATE INDEX "audit_events_occurred_at_idx" ON "audit_events"("occurred_at");

-- CreateIndex
CREATE INDEX "mailbox_messages_sent_at_idx" ON "mailbox_messages"("sent_at" DESC);

-- CreateIndex
CREATE INDEX "signing_keys_algorithm_created_at_idx" ON "signing_keys"("algorithm", "created_at" DESC);

-- CreateIndex
CREATE INDEX "_role_permissions_B_index" ON "_role_permissions"("B");

-- AddForeignKey
ALTER TABLE "users" ADD CONSTRAINT "users_role_fkey" FOREIGN KEY ("role") REFERENCES "roles"("name") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "refresh_tokens" ADD CONSTRAINT "refresh_tokens_session_id_fkey" FOREIGN KEY ("session_id") REFERENCES "sessions"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "one_time_tokens" ADD CONSTRAINT "one_time_tokens_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "password_history" ADD CONSTRAINT "password_history_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "login_throttles" ADD CONSTRAINT "login_throttles_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "_role_permissions" ADD CONSTRAINT "_role_permissions_A_fkey" FOREIGN KEY ("A") REFERENCES "permissions"("name") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "_role_permissions" ADD CONSTRAINT "_role_permissions_B_fkey" FOREIGN KEY ("B") REFERENCES "roles"("name") ON DELETE CASCADE ON UPDATE CASCADE;

-- What the Prisma schema cannot say ---------------------------------------------------------------------------------

-- One account per address; registrations that wait for their verification reserve nothing.
CREATE UNIQUE INDEX "users_email_normalized_established_key" ON "users"("email_normalized") WHERE "pending_until" IS NULL;
CREATE INDEX "users_pending_until_idx" ON "users"("pending_until") WHERE "pending_until" IS NOT NULL;

-- One live leaf per family of refresh tokens: a fork is impossible, not merely avoided.
CREATE UNIQUE INDEX "refresh_tokens_live_leaf_key" ON "refresh_tokens"("session_id") WHERE "state" = 'LIVE';

CREATE INDEX "sessions_live_idx" ON "sessions"("user_id", "created_at") WHERE "ended_at" IS NULL;

-- Moves committed events from the inbox to the log, oldest first, and numbers them. One caller at a time over all
-- processes: the lock is taken by a statement of its own, so that the next one sees everything committed before it.
CREATE FUNCTION seal_audit_events(batch_size integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  sealed integer;
BEGIN
  PERFORM pg_advisory_xact_lock(7270736901);
  WITH taken AS (
    DELETE FROM audit_inbox WHERE id IN (SELECT id FROM audit_inbox ORDER BY id LIMIT batch_size) RETURNING *
  ), head AS (
    SELECT coalesce(max(position), 0) AS position FROM audit_events
  )
  INSERT INTO audit_events (position, id, type, occurred_at, success, risk_level, user_id, session_id, ip_address,
                            user_agent, city, country, correlation_id, metadata)
  SELECT head.position + row_number() OVER (ORDER BY taken.id), event_id, type, occurred_at, success, risk_level, user_id,
         session_id, ip_address, user_agent, city, country, correlation_id, metadata
  FROM taken, head;
  GET DIAGNOSTICS sealed = ROW_COUNT;
  RETURN sealed;
END $$;

INSERT INTO "permissions" ("name", "description") VALUES
  ('audit:read', 'Read the security events of every account');
INSERT INTO "roles" ("name", "description") VALUES
  ('user', 'An account without further permissions'),
  ('admin', 'Runs the installation');
INSERT INTO "_role_permissions" ("A", "B") SELECT "permissions"."name", 'admin' FROM "permissions";
