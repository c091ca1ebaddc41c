# Sourced by the scripts beside it. A booted guest lives in a folder:
#   DIR/in    fifo, the input of the guest's console       DIR/log   everything the guest printed
#   DIR/pid   leader of the guest's process group          DIR/cmd   the command line that was started

usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

# install PACKAGE...: installs the Debian packages that are missing; needs root only if there are any.
install_missing() {
  local package missing=()
  for package; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${missing[*]}" >&2
  apt-get -o DPkg::Lock::Timeout=300 -qq update >&2
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y -qq install --no-install-recommends \
    "${missing[@]}" >/dev/null
}

# guest_start DIR SECONDS COMMAND...: starts COMMAND with the console on its standard input and output, waits for
# GUEST-READY. On failure it kills what it started, prints the end of the log and returns 1.
guest_start() {
  local dir=$1 seconds=$2 pid i=0; shift 2
  mkdir -p "$dir"; rm -f "$dir"/{in,log,pid}
  mkfifo "$dir/in"; : >"$dir/log"; printf '%q ' "$@" >"$dir/cmd"
  # Opened for both reading and writing, so that neither side waits for the other and none ever sees its end.
  setsid "$@" <>"$dir/in" >"$dir/log" 2>&1 & pid=$!
  echo $pid >"$dir/pid"
  until grep -qa GUEST-READY "$dir/log"; do
    i=$((i + 1))
    if [ $i -gt $((seconds * 10)) ] || ! kill -0 $pid 2>/dev/null; then
      echo "the guest in $dir did not come up within $seconds s; the end of its console:" >&2
      tail -n 80 "$dir/log" >&2
      guest_stop "$dir"; return 1
    fi
    sleep 0.1
  done
  grep -ao 'GUEST-READY[^'$'\r'']*' "$dir/log" | head -1
}

# guest_stop DIR: ends the guest's whole process group (setsid made the leader) and waits until it is gone.
guest_stop() {
  local pid signal
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  for signal in TERM KILL; do
    kill -$signal -- -"$pid" 2>/dev/null || break
    for _ in $(seq 20); do kill -0 -- -"$pid" 2>/dev/null || break 2; sleep 0.05; done
  done
  rm -f "$1/pid" "$1/in"
}
