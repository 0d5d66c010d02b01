// What of pods is not as it was made, for `podwire status`: that which many share is said once.

import { isErrno } from '../kernel/errno.ts'
import type { Netns } from '../kernel/netns.ts'
import { podsOf, titleOf, type Places } from './pods.ts'

interface PodFindings {
  findings: { sentence: string; repair: string }[]
  unseen: string[]
}

export function podFindings(host: Netns, places: Places): PodFindings {
  try {
    return { findings: grouped(podsOf(host, places).pods), unseen: [] }
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM')) throw error
    return { findings: [], unseen: [`what pods were promised (${places.library})`] }
  }
}

function grouped(pods: ReturnType<typeof podsOf>['pods']): PodFindings['findings'] {
  const shared = new Map<string, { pods: string[]; repair: string }>()
  for (const pod of pods)
    for (const { sentence, repair } of pod.findings) {
      const known = shared.get(sentence)
      if (known) known.pods.push(titleOf(pod))
      else shared.set(sentence, { pods: [titleOf(pod)], repair })
    }
  const whose = ([first, ...more]: string[]) => `pod ${first}${more.length > 0 ? ` and ${more.length} more` : ''}`
  return [...shared].map(([sentence, { pods: of, repair }]) => ({ sentence: `${sentence} (${whose(of)})`, repair }))
}
