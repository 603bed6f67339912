#!/usr/bin/env bash
# What a newcomer does: clone main into an empty folder, as a new normal user, and run both commands of the README.
#   npm run check:fresh            all of it
#   npm run check:fresh -- start   without the test suite
set -euo pipefail
[[ $(id -u) == 0 ]] || { echo "check:fresh makes a new user and so needs root" >&2; exit 1; }

repo=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
user=agentbus-fresh-$$
home=$(mktemp -d /tmp/agentbus-fresh-XXXXXX)
chmod 755 "$home"
useradd --home-dir "$home" --shell /bin/bash "$user"
chown "$user" "$home"
cleanup() {
  pkill -KILL -u "$user" 2>/dev/null || true
  sleep 0.5
  userdel "$user" 2>/dev/null || true
  rm -rf "$home"
}
trap cleanup EXIT

say() { printf -- '-- %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; [[ -f $home/up.log ]] && tail -20 "$home/up.log" >&2; exit 1; }
# A clean environment: nothing of this shell reaches the new user but where programs are.
as() { setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups env -i HOME="$home" USER="$user" PATH="$PATH" LANG=C.UTF-8 AGENTBUS_PORT=0 bash -c "cd $home/project 2>/dev/null || cd $home; $1"; }

git -c safe.directory='*' clone -q --no-hardlinks --branch main "$repo" "$home/project"
chown -R "$user" "$home/project"
say "cloned $(git -c safe.directory='*' -C "$home/project" log -1 --format='%h %s')"

start() {
  : >"$home/up.log"; chown "$user" "$home/up.log"
  as 'exec npm start' >"$home/up.log" 2>&1 &
  for _ in $(seq 600); do
    grep -q 'Ctrl-C stops everything' "$home/up.log" && return
    kill -0 $! 2>/dev/null || fail "npm start ended"
    sleep 0.1
  done
  fail "npm start did not come up"
}
copy_paste() { grep -o 'AGENTBUS_URL=.*--follow' "$home/up.log"; }
nothing_left() { for _ in $(seq 100); do pgrep -u "$user" >/dev/null || return 0; sleep 0.1; done; return 1; }

began=$SECONDS
as 'npm ci --no-audit --no-fund' >"$home/ci.log" 2>&1 || { tail -20 "$home/ci.log" >&2; fail "npm ci"; }
say "npm ci: $((SECONDS - began)) s"

start
say "npm start is up: $(grep -E 'Queues:' "$home/up.log" | xargs)"
story=$(as "$(copy_paste)") || fail "the printed command"
grep -qE '(leased|running) → succeeded' <<<"$story" || fail "the job did not succeed: $story"
job=$(awk '$1 == "id" {print $2; exit}' <<<"$story")
say "the printed command enqueued job $job and showed its history"

pkill -INT -u "$user" -f 'bin/agentbus.mjs up'
nothing_left || fail "something still runs after Ctrl-C: $(pgrep -u "$user" -a)"
say "Ctrl-C stopped everything"

start
environment=$(grep -o 'AGENTBUS_URL=[^ ]* AGENTBUS_TOKEN=[^ ]*' "$home/up.log")
as "$environment npx agentbus job $job" | grep -q succeeded || fail "the job is not there after a second start"
say "a second start found the data again"

pkill -KILL -u "$user"
sleep 1
start
story=$(as "$(copy_paste)") || fail "the printed command after kill -9"
grep -qE '(leased|running) → succeeded' <<<"$story" || fail "no job succeeded after kill -9"
say "a start after kill -9 of everything recovered by itself"
pkill -INT -u "$user" -f 'bin/agentbus.mjs up'
nothing_left || fail "something still runs at the end"

if [[ ${1:-} != start ]]; then
  began=$SECONDS
  as 'npm ci --no-audit --no-fund && npm test' >"$home/test.log" 2>&1 || { tail -60 "$home/test.log" >&2; fail "npm test"; }
  say "npm ci && npm test: $((SECONDS - began)) s; $(sed 's/\x1b\[[0-9;]*m//g' "$home/test.log" | grep -E '^ +Tests ' | tail -1 | xargs)"
fi
say OK
