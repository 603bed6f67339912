import { afterEach, beforeEach, expect, test } from 'vitest'
import { FileFindingBody } from '../../contracts/findings.js'
import { AppendProjectLogBody, ProjectName } from '../../contracts/projects.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

test('an attempt whose lease has run out writes nothing any more, before anybody has reaped it', async () => {
  const { attemptId, as } = await aJob(t.ledger, 'running')
  const file = () => t.ledger.inbox.file(as, FileFindingBody.parse({ topic: 'disk.full', subject_key: 'a', body: 'b', to: 'devops' }))
  const append = () => t.ledger.projects.append(as, ProjectName.parse('p'), AppendProjectLogBody.parse({ entry: 'x' }))
  await expect(file()).resolves.toMatchObject({ created: true })
  await t.database.pool.query(`update job_attempts set leased_until = now() - interval '1 second' where id = $1`, [attemptId])

  await expect(file()).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })
  await expect(append()).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })
})
