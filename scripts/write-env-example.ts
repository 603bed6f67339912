import { writeFile } from 'node:fs/promises'
import { renderEnvExample } from '../config/settings.js'

await writeFile('.env.example', renderEnvExample())
