# What the other scripts share: how they are called, installing what is missing, and saying so.

# usage: the comment at the top of the script that was called, which says what it does and how to call it.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "scripts/${0##*/}"; }

# helps WORD...: if one of a script's arguments asks for it, prints the usage and ends. Before anything is done.
helps() {
  local word
  for word; do case $word in -h | --help) usage; exit ;; esac; done
}

# wrong WORDS: ends because of how the script was called.
wrong() {
  printf '%s: %s\n\n' "${0##*/}" "$*" >&2
  usage >&2
  exit 2
}

# nothing_else WORD...: for a script that takes no arguments.
nothing_else() {
  helps "$@"
  [ $# = 0 ] || wrong "$1: expected no argument"
}

# step WORDS COMMAND...: says what takes its time, runs it quietly, shows its output when it fails.
step() {
  local words=$1 log start=$SECONDS
  shift
  log=$(mktemp)
  printf '%s ... ' "$words"
  if "$@" >"$log" 2>&1; then printf 'done (%d s)\n' $((SECONDS - start)); rm -f "$log"
  else printf 'failed\n'; cat "$log"; rm -f "$log"; return 1; fi
}

# need PROGRAM:PACKAGE...: installs Debian's packages of programs that are missing, when root; else says which, and ends.
need() { provide "$@" || exit 1; }

# want PROGRAM:PACKAGE...: the same for what only some tests use: without it they are skipped, and say so.
want() { provide "$@" || echo 'going on without' >&2; }

provide() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    step "installing ${missing[*]}" sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${missing[*]}"
  else
    echo "missing: ${missing[*]} (as root: apt-get install ${missing[*]})" >&2
    return 1
  fi
}

# packages: npm's, exactly as locked.
packages() {
  [ node_modules/.package-lock.json -nt package-lock.json ] && return
  step 'installing npm packages' npm ci --ignore-scripts --no-audit --no-fund
}

node_arch() { case $(uname -m) in aarch64) echo arm64 ;; *) echo x64 ;; esac; }
