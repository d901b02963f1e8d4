-- Guesses at codes are counted for every address alike: a row that only a code has that was mailed told, by time, of it.

-- CreateTable
CREATE TABLE "code_guesses" (
    "id" UUID NOT NULL,
    "key" VARCHAR(80) NOT NULL,
    "compared" INTEGER NOT NULL,
    "guessed_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "code_guesses_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "code_guesses_key_guessed_at_idx" ON "code_guesses"("key", "guessed_at");

-- CreateIndex
CREATE INDEX "code_guesses_guessed_at_idx" ON "code_guesses"("guessed_at");
