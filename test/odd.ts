// What may stand where a file should be, made by its path. For tests that import bounded.ts: much of it would make a reader wait
// for ever, or fill its memory.

import { sh } from './world.ts'

export const ODD: Record<string, string> = {
  'a FIFO': 'mkfifo $0',
  'a FIFO that somebody writes to': 'mkfifo $0; (exec 3<>$0; sleep 60) >/dev/null 2>&1 & sleep 0.05',
  'a directory': 'mkdir $0',
  'a directory with something in it': 'mkdir -p $0/more',
  'a device': 'touch $0; mount --bind /dev/zero $0',
  'a socket': `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un($ARGV[0]))' $0`,
  'a symlink to a device': 'ln -s /dev/zero $0',
  'a symlink to nothing': 'ln -s /run/nothing $0',
  'a symlink to itself': 'ln -s $0 $0',
  'a file of a terabyte': 'truncate -s 1T $0',
  'a file of binary rubbish': 'head -c 100000 /dev/urandom > $0',
}

/** Those that are no regular file. */
export const NO_FILE = Object.keys(ODD).filter((kind) => !kind.startsWith('a file'))

/** Puts one there, in the place of whatever was. */
export const put = (kind: string, path: string): string => sh(`rm -rf ${path}; set -- ${path}; bash -c '${ODD[kind]!.replaceAll("'", `'\\''`)}' ${path}`)

/** Takes it away. */
export const take = (path: string): string => sh(`umount ${path} 2>/dev/null; rm -rf ${path}`)
