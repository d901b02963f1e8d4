-- Checking the reference locks the account's row: a failure took longer where there is an account, and that told who has one.

-- DropForeignKey
ALTER TABLE "login_throttles" DROP CONSTRAINT "login_throttles_user_id_fkey";
