// Every system call of an ADD that can be refused, refused once: what was done is taken back, and a repetition succeeds.

import { once } from './refusals.ts'
import t from 'tap'
import { cannotInject } from '../reference.ts'

const CALLS = { socket: 'EPROTONOSUPPORT', setns: 'EPERM', sendmsg: 'ENOMEM', flock: 'EINTR', link: 'ENOSPC', fsync: 'EIO' }

for (const [name, error] of Object.entries(CALLS)) t.test(`each ${name} once: ${error}`, { skip: cannotInject }, async (t) => once(t, name, error))
