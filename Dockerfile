# syntax=docker/dockerfile:1

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Every package comes ready to run; our own build follows.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY prisma.config.ts tsconfig.json ./
COPY scripts scripts
COPY prisma prisma
COPY src src
RUN npm run build
# Without what only builds and tests, and without the embedded database, which production refuses. npm keeps the Prisma CLI
# for as long as optional packages are kept; of those, only the faster hashing and the priority of its threads are wanted.
RUN mkdir /tmp/native \
  && mv node_modules/@node-rs node_modules/@napi-rs /tmp/native \
  && npm prune --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
  && cp -r /tmp/native/. node_modules/

FROM node:24-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=4000
WORKDIR /app
COPY package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/prisma/migrations prisma/migrations
COPY --from=build /app/dist dist
USER node
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/live`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--min-semi-space-size=16", "dist/main.js"]
