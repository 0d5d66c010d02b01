// Errors as CNI has them: a code, a sentence, the details. CNI 1.1 §5 "Error". 0 to 99 are the specification's, 100 and
// up are podwire's own. Each code is listed here once, with what to do; `podwire explain` and docs/operations.md print it.

import { printable } from '../printable.ts'

export class CniError extends Error {
  readonly code: number
  readonly details: string | undefined

  /** `message`: one sentence that says what is wrong; `details`: all that helps beyond it. */
  constructor(code: number, message: string, details?: string) {
    super(message)
    this.code = code
    this.details = details
  }
}

interface Explanation {
  meaning: string
  remedy: string
}

export const CODES = {
  1: { meaning: 'The cniVersion of the configuration is not supported, or does not have the command.', remedy: 'Set cniVersion (or cniVersions) to 1.1.0, or to 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0. CHECK needs 0.4.0, GC and STATUS need 1.1.0.' },
  2: { meaning: 'The configuration asks for something that podwire does not support; the message names key and value.', remedy: 'Remove the key or give it a supported value: docs/configuration.md.' },
  3: { meaning: 'The container is unknown or does not exist: there is nothing of this attachment.', remedy: 'Nothing needs to be cleaned up.' },
  4: { meaning: 'An environment variable (CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH) is missing or wrong; the message names it.', remedy: 'It is set by the container runtime: look at its log, or at your own call if you start the plugin by hand.' },
  5: { meaning: 'Reading or writing failed: standard input, or the state directory.', remedy: 'Look at the path in the message: disk full, read-only, permissions.' },
  6: { meaning: 'The configuration could not be decoded: no JSON, or no version number where one belongs.', remedy: 'Check the file in /etc/cni/net.d with `podwire plan FILE`.' },
  7: { meaning: 'The configuration is wrong; the message names each key, its value and what is allowed.', remedy: 'Correct the file in /etc/cni/net.d and check it with `podwire plan FILE`.' },
  8: { meaning: "CNI_NETNS is the plugin's own network namespace.", remedy: "Give the pod a namespace of its own. If wiring the host to itself is really meant, set CNI_NETNS_OVERRIDE=1." },
  11: { meaning: 'Not now: the overlay is not ready, or something that podwire needs is busy.', remedy: 'Try again; a runtime does that by itself. If it stays: `podwire status` says what the overlay lacks; `fuser` which process holds the file in the message.' },
  50: { meaning: 'podwire cannot serve ADD: no address is free, the state directory cannot be written, or the overlay is not ready.', remedy: '`podwire status` says what the overlay lacks. Compare the figures in the message with the pods that run; `podwire gc` frees the addresses of dead pods; a larger subnet gives room.' },
  51: { meaning: 'podwire cannot serve ADD, and pods that run may be cut off: forwarding is off, the nft table or the device of the overlay is gone.', remedy: 'The details are a script for sh that repairs it; find out who changed it.' },
  100: { meaning: 'The kernel refused a change. The message is what was to be done, then what the kernel said.', remedy: 'Nothing of the attachment is left. Read the kernel\'s words; often a module or a capability (CAP_NET_ADMIN, CAP_SYS_ADMIN) is missing.' },
  101: { meaning: 'The attachment exists already: the interface is there.', remedy: 'Send DEL for the container and interface first, or choose another CNI_IFNAME.' },
  102: { meaning: 'CHECK found differences between what ADD made and what is there.', remedy: 'The details are a script for sh that repairs it, with the differences as comments; or delete the pod and let it be made anew.' },
  103: { meaning: 'This kernel or its settings lack something the configuration asks for (IPv6, nf_tables NAT).', remedy: 'Load the module or change the setting that the message names, or leave it out of the configuration.' },
  104: { meaning: 'The container holds an address in this network already: duplicate allocation is not allowed.', remedy: 'Send DEL for the container and interface first.' },
  105: { meaning: 'A requested address cannot be given: outside the ranges, the gateway, or held by somebody else.', remedy: 'Request another address, or none.' },
  106: { meaning: 'An IPAM executable could not be run, or printed no result.', remedy: 'The message names it and says how it ended; see that it is in CNI_PATH and works by itself.' },
  107: { meaning: 'GC could not remove everything; the details say what is left.', remedy: 'Run it again (`podwire gc`); if it stays, remove by hand what the details name.' },
  108: { meaning: 'podwire has a defect: it met a state that should not exist.', remedy: 'Please report it with the message and the details.' },
  109: { meaning: 'A host port is held by another container; the message names it.', remedy: 'Choose another port, or delete that container. What a dead one left `podwire gc` takes back.' },
} as const satisfies Record<number, Explanation>

/** The same error with notes in its details; in a script (findings.ts) they are comments, too. */
export function withNotes(error: CniError, notes: string[]): CniError {
  if (notes.length === 0) return error
  const lines = error.details?.startsWith('# ') ? notes.map((note) => `# ${printable(note)}`) : notes
  return new CniError(error.code, error.message, [error.details, ...lines].filter(Boolean).join('\n'))
}

/** The error object for stdout. CNI 1.1 §5: cniVersion, code, msg, details. Without details of its own, what to do about the code. */
export function errorJson({ code, message, details = (CODES as Record<number, Explanation>)[code]?.remedy ?? '' }: CniError, cniVersion: string): string {
  return JSON.stringify({ cniVersion, code, msg: message, details }, null, 4)
}
