import { expect, test } from 'vitest'
import { isCode } from '../../contracts/errors.js'
import { HOOK_BODY_LIMIT, HookRequest } from '../../contracts/hooks.js'
import { joinBodyOf, renderHookBodies } from '../../openclaw/render-hook.js'

const INPUT = { message: 'do "it"\nnow', gatewayAgentId: 'devops', name: 'agentbus review', timeoutSeconds: 600 }

test('both bodies have these exact bytes, whatever the order in which the input was made', () => {
  const { admit, join } = renderHookBodies({ timeoutSeconds: INPUT.timeoutSeconds, name: INPUT.name, gatewayAgentId: INPUT.gatewayAgentId, message: INPUT.message })

  expect(admit).toBe('{"message":"do \\"it\\"\\nnow","agentId":"devops","name":"agentbus review","deliver":false,"wakeMode":"next-heartbeat","timeoutSeconds":600}')
  expect(join).toBe(`${admit.slice(0, -1)},"waitForCompletion":true}`)
  expect(joinBodyOf(admit)).toBe(join)
})

test('both bodies are hook requests and differ in waitForCompletion alone', () => {
  const { admit, join } = renderHookBodies(INPUT)

  const { waitForCompletion, ...rest } = HookRequest.parse(JSON.parse(join))

  expect(waitForCompletion).toBe(true)
  expect(rest).toEqual(HookRequest.parse(JSON.parse(admit)))
})

test('a body of exactly the limit is rendered, and one byte more is refused with a sentence', () => {
  const room = HOOK_BODY_LIMIT - Buffer.byteLength(renderHookBodies({ ...INPUT, message: '' }).join)

  expect(Buffer.byteLength(renderHookBodies({ ...INPUT, message: 'x'.repeat(room) }).join)).toBe(HOOK_BODY_LIMIT)
  let refusal: unknown
  try {
    renderHookBodies({ ...INPUT, message: 'x'.repeat(room + 1) })
  } catch (error) {
    refusal = error
  }

  expect(isCode(refusal, 'AGENTBUS_TOO_LARGE') && refusal.message).toMatch(/262145 bytes; a gateway takes at most 262144/)
})
