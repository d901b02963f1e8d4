-- Of a session only the last refresh token that was used leads to the live one: not each to the next.

-- AlterTable
ALTER TABLE "sessions" ADD COLUMN "sealed_successor" BYTEA;

-- AlterTable
ALTER TABLE "refresh_tokens" DROP COLUMN "sealed_successor";
