import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { CreateBatchBody, CreateJobBody } from '../contracts/jobs.js'
import { renderJobMessage } from '../openclaw/contract.js'
import { HookClient } from '../openclaw/hook-client.js'
import { renderHookBodies } from '../openclaw/render-hook.js'
import type { QueueBackend } from '../queues/backend.js'
import { deliveryOptions, queueNameOf } from '../queues/catalogue.js'
import { HOOK_TOKEN } from './hook-token.js'

/** The same HTTP requests and the same bare BullMQ queue on the same store, and nothing written to PostgreSQL by us. */
export async function startBaseline(options: {
  readonly backend: QueueBackend
  readonly gatewayUrl: string
  readonly concurrency: number
}): Promise<{ url: string; token: string; setPaused: (paused: boolean) => Promise<void>; stop: () => Promise<void> }> {
  const name = `${queueNameOf('bench')}-baseline`
  const queue = options.backend.openQueue(name)
  const hooks = new HookClient()
  const closers = new Map<string, () => void>()
  const app = express()
  app.disable('x-powered-by')
  app.use(express.json({ limit: '10mb' }))
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const entryOf = (id: string, body: CreateJobBody): Parameters<typeof queue.addBulk>[0][number] => ({
    name: body.job_type,
    data: { id, subject: body.subject, payload: body.payload },
    opts: deliveryOptions({ jobId: id, generation: 1, priority: body.priority, maxAttempts: body.max_attempts, delayMs: 0 }),
  })
  app.post('/v1/jobs', async (request, response) => {
    const body = CreateJobBody.parse(request.body)
    const id = randomUUID()
    const { name, data, opts } = entryOf(id, body)
    await queue.add(name, data, opts)
    response.status(201).json({ id, ...body, status: 'queued' })
  })
  app.post('/v1/job-batches', async (request, response) => {
    const jobs = CreateBatchBody.parse(request.body).jobs.map((body) => ({ id: randomUUID(), body }))
    await queue.addBulk(jobs.map(({ id, body }) => entryOf(id, body)))
    response.status(201).json({ items: jobs.map(({ id, body }) => ({ id, ...body, status: 'queued' })) })
  })
  app.post('/v1/jobs/:id/complete', (request, response) => {
    closers.get(request.params.id)?.()
    response.json({ id: request.params.id, status: 'succeeded' })
  })

  const worker = options.backend.openWorker(
    name,
    async (job) => {
      const id = String(job.data['id'])
      const closed = new Promise<void>((resolve) => closers.set(id, resolve))
      const message = renderJobMessage({
        job: {
          id,
          namespace: 'default',
          target_agent: 'bench',
          source_agent: null,
          job_type: 'reactive',
          subject: String(job.data['subject']),
          lane: 'reactive',
          priority: 100,
          correlation_key: null,
          payload: job.data['payload'] as Record<string, unknown>,
          state: {},
        },
        attempt: { id, attempt_no: 1, max: 5 },
        attemptToken: 'aat_none',
        apiUrl: url,
      })
      const bodies = renderHookBodies({ message, gatewayAgentId: 'bench', name: 'agentbus reactive', timeoutSeconds: 600 })
      const post = { gateway: { baseUrl: options.gatewayUrl, hookPath: '/hooks' }, token: HOOK_TOKEN, idempotencyKey: id, deadlineMs: 60_000 }
      const stop = new AbortController()
      await hooks.admit({ ...post, body: bodies.admit, signal: stop.signal })
      const joined = hooks.join({ ...post, body: bodies.join, signal: stop.signal })
      await Promise.race([closed, joined.then(() => closed)])
      stop.abort()
      closers.delete(id)
      return { outcome: 'succeeded' }
    },
    { concurrency: options.concurrency },
  )
  return {
    url,
    token: 'none',
    setPaused: async (paused) => (paused ? worker.pause(true) : worker.resume()),
    stop: async () => {
      await worker.close()
      await queue.close()
      await hooks.close()
      server.closeAllConnections()
      server.close()
    },
  }
}
