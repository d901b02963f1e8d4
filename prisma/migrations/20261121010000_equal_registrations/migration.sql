-- AlterTable
ALTER TABLE "users" ADD COLUMN "is_contested" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN "registered_from" JSONB;

-- CreateTable
CREATE TABLE "mail_quotas" (
    "key" VARCHAR(80) NOT NULL,
    "full_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "mail_quotas_pkey" PRIMARY KEY ("key")
);

-- CreateIndex
CREATE INDEX "mail_quotas_full_at_idx" ON "mail_quotas"("full_at");

-- The mark of an address that was registered once more was a row that never expired.
UPDATE "users" AS account SET "is_contested" = true
FROM "users" AS mark
WHERE mark."pending_until" = '9999-01-01T00:00:00Z' AND account."email_normalized" = mark."email_normalized"
  AND account."pending_until" IS NULL AND account."email_verified_at" IS NULL;
DELETE FROM "users" WHERE "pending_until" = '9999-01-01T00:00:00Z';
