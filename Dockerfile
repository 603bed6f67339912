FROM node:24.11.1-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
COPY contracts contracts
COPY config config
COPY ledger ledger
COPY openclaw openclaw
COPY queues queues
COPY processors processors
COPY api api
COPY board board
COPY embedded embedded
COPY cli cli
RUN npm ci && npm prune --omit=dev --ignore-scripts

FROM node:24.11.1-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY board/console/assets board/console/assets
COPY drizzle drizzle
COPY bin bin
COPY scripts/verify-bundle.mjs scripts/
RUN mkdir -p .agentbus && chown node:node .agentbus
USER node
EXPOSE 7717
ENTRYPOINT ["node", "--no-memory-reducer", "bin/agentbus.mjs"]
CMD ["api"]
