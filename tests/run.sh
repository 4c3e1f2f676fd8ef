#!/bin/bash
# `npm test`: installs what the tests need, builds the executable, runs every test of the project,
# and ends with the line "N passed, N failed". Its status is 0 only if something passed and nothing
# failed.
#
#   tests/run.sh [STEP|FILE]...      only these: format lint types unit, or paths of test files
#
# Each folder of tests/unit and each other file runs in a process of its own, with a time limit;
# TEST_JOBS at once, by default one more than there are processors, because most of them wait for
# something half of the time. All except tests/build get namespaces of their own (processes, mounts,
# network), so that nothing outlives them. Files in a folder `vm` need kernel features that some
# machines lack; there, each runs in a virtual machine (tests/vm/run).
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

readonly PACKAGES=(
  etcd-server etcd-client iproute2 iptables nftables libnftables1 iputils-ping conntrack tcpdump
  openssl curl python3 procps util-linux gcc libc6-dev linux-libc-dev protobuf-compiler
  libnl-3-200 libnl-route-3-200 libnl-genl-3-200 libnl-xfrm-3-200
  libnl-3-dev libnl-route-3-dev libnl-genl-3-dev libnl-xfrm-3-dev
  wireguard-tools wireguard-go strongswan-charon strongswan-swanctl libstrongswan-standard-plugins
  iperf3 kmod xz-utils systemd-container)
# For what users get besides the executable: man pages, completion by shells, install.sh, packages, and
# the image.
readonly DELIVER_PACKAGES=(mandoc zsh fish shellcheck busybox-static minisign rpm podman runc)
readonly BUN=node_modules/.bin/bun DENO=node_modules/.bin/deno
readonly JOBS=${TEST_JOBS:-$(($(nproc) + 1))}
# Ends a file that hangs; the slowest takes a fifth of it. FLANNELD_SLOW_TESTS makes some longer.
if [[ ${FLANNELD_SLOW_TESTS:-} = 1 ]]; then FILE_SECONDS=2400; else FILE_SECONDS=1200; fi
readonly FILE_SECONDS
# Runs a command in namespaces of its own. The shell stays as their first process, which reaps the
# orphans of the tests.
readonly ISOLATED=(unshare --net --mount --pid --fork --kill-child --propagation private sh -c '
  mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run &&
  mount -t tmpfs tmpfs /dev/shm && mkdir /run/netns /run/lock && ip link set lo up || exit 125
  "$@"
  exit $?' sh)
export NO_COLOR=1
kernel= # what runs the files in folders `vm`: native, vm, or none
# Files that failed and run once more, at most, unless the run has taken so long already.
readonly MAX_REPEATED=3 REPEAT_SECONDS=3600
passed=0
failed=0
unstable=() # what failed, and then passed alone

main() {
  local jobs
  mapfile -t jobs < <(list_jobs "$@")
  logs=$(mktemp -d)
  trap 'rm -rf "$logs"' EXIT
  trap 'stop_jobs; exit 130' INT
  trap 'stop_jobs; exit 143' TERM
  if prepare "${jobs[@]}"; then
    run_jobs "${jobs[@]}"
  else
    failed=1
  fi
  echo
  if [[ ${#unstable[@]} -gt 0 ]]; then
    printf 'UNSTABLE %s: failed, then passed alone\n' "${unstable[@]}"
  fi
  echo "$passed passed, $failed failed"
  [[ $failed = 0 && $passed -gt 0 ]]
}

# The requested jobs, by default all of them, one line for each process.
list_jobs() {
  local wanted
  if [[ $# = 0 ]]; then
    list_jobs format lint types unit
    # A virtual machine computes while the others wait, so they alternate.
    paste -d '\n' <(printf '%s\n' tests/vm/*_test.ts) \
      <(printf '%s\n' tests/{etcd,datastore,build,kube,netns,deliver}/*_test.ts) | grep .
    return
  fi
  for wanted in "$@"; do
    if [[ $wanted = unit ]]; then
      printf '%s\n' tests/unit/*/ tests/unit/*_test.ts
    else
      echo "$wanted"
    fi
  done
}

prepare() {
  if [[ $(id -u) != 0 ]]; then
    echo "the tests build networks in the kernel and need root"
    return 1
  fi
  bash tests/install.sh "${PACKAGES[@]}" && bash compile.sh || return
  if [[ $* =~ tests/(interop/(vm/)?)?kube ]]; then provide_programs; fi
  if [[ " $*" = *" tests/deliver/"* ]]; then
    bash tests/install.sh "${DELIVER_PACKAGES[@]}" || return
    provide_machines
  fi
  if [[ " $*" = *" tests/vm/"* || " $*" = *" tests/interop/vm/"* ]]; then choose_kernel; fi
}

# Programs that the tests of Kubernetes run and Debian lacks: each script of tests/kube finds or builds
# one. Here, because tests have no network; where it fails, those that need it fail with the reason.
provide_programs() {
  local script begun=$SECONDS
  for script in tests/kube/*.sh; do bash "$script" >/dev/null; done
  echo "tests/kube: its programs are ready after $((SECONDS - begun)) s"
}

# The root file systems of the machines of tests/deliver and of the image, from Debian's packages, and
# the programs that make packages and charts.
provide_machines() {
  local begun=$SECONDS
  bash tests/deliver/machine_root.sh >/dev/null
  bash tests/kube/image_root.sh >/dev/null
  bash deploy/release/nfpm.sh >/dev/null
  bash tests/kube/helm.sh >/dev/null
  bash tests/deliver/ignition_validate.sh >/dev/null
  echo "tests/deliver: its machines are ready after $((SECONDS - begun)) s"
}

# Chooses the kernel for files in folders `vm`; the first time, it may have to be built.
choose_kernel() {
  local begun=$SECONDS missing=$logs/missing
  if timeout 300 "$BUN" tests/vm/missing_features.ts >"$missing" 2>&1; then
    kernel=native
    echo "tests/vm: on this kernel"
    return
  fi
  sed 's/^/tests\/vm: /' "$missing"
  if bash tests/vm/run --setup; then
    kernel=vm
    echo "tests/vm: in a virtual machine (ready after $((SECONDS - begun)) s)"
  else
    kernel=none
  fi
}

# Runs the jobs in this order, JOBS at once, then those that run alone, then a few that failed once
# more, and adds up their numbers.
run_jobs() {
  local number=0 running=0 job pass fail
  for job in "$@"; do
    number=$((number + 1))
    if is_alone "$job"; then continue; fi
    running=$((running + 1))
    if [[ $running -gt $JOBS ]]; then wait -n; fi
    run_job "$number" "$job" &
  done
  wait
  number=0
  for job in "$@"; do
    number=$((number + 1))
    if ! is_alone "$job"; then continue; fi
    run_job "$number" "$job" &
    wait
  done
  repeat_failed "$@"
  number=0
  for job in "$@"; do
    number=$((number + 1))
    if ! read -r pass fail <"$logs/$number.sum"; then
      echo "FAILED $job: its process died"
      pass=0 fail=1
    fi
    passed=$((passed + pass))
    failed=$((failed + fail))
  done 2>/dev/null
}

# Runs the test files that failed once more, alone. What then passes depends on the load of the
# machine or on chance: it is reported as unstable, which is a fault to be mended, and does not
# fail the run. If many failed, that is not the reason.
repeat_failed() {
  local number=0 job pass fail numbers=()
  for job in "$@"; do
    number=$((number + 1))
    read -r pass fail <"$logs/$number.sum" || fail=1
    if [[ $fail != 0 ]]; then numbers+=("$number"); fi
  done 2>/dev/null
  if [[ ${#numbers[@]} -gt $MAX_REPEATED || $SECONDS -gt $REPEAT_SECONDS ]]; then return; fi
  for number in "${numbers[@]}"; do
    job=${!number}
    if [[ $job != tests/* ]]; then continue; fi
    run_job "$number-again" "$job" &
    wait
    read -r pass fail <"$logs/$number-again.sum" || continue
    if [[ $fail != 0 || $pass = 0 ]]; then continue; fi
    echo "$pass 0" >"$logs/$number.sum"
    unstable+=("$job")
  done 2>/dev/null
}

# These measure time: a repair within a second, or three charons that agree in time on the only
# processor of a virtual machine. Or they leave no time to others: sixty daemons that start at once.
is_alone() {
  [[ $1 = tests/netns/*drift_test.ts || $1 = tests/netns/firewall_rules_test.ts ||
    $1 = tests/vm/ipsec_test.ts || $1 = tests/kube/many_nodes_test.ts ]]
}

# Prints a job's report in one piece and writes its numbers to $logs/NUMBER.sum. Each job has a
# temporary directory of its own: none finds files that another one is about to remove.
run_job() {
  log=$logs/$1.log
  mkdir "$logs/$1"
  export TMPDIR=$logs/$1
  run_one "$2" >"$logs/$1.report" 2>&1
  flock "$logs" cat "$logs/$1.report"
  echo "$passed $failed" >"$logs/$1.sum"
}

# Each job's child ends the processes that it has started.
stop_jobs() {
  local job
  for job in $(jobs -p); do pkill -TERM -P "$job"; done
  wait
}

run_one() {
  case $1 in
    format) check "format" "$DENO" fmt --check --quiet ;;
    lint) check "lint" "$DENO" lint --quiet ;;
    types) check "types" "$DENO" check --quiet ffi src tests deploy ;;
    tests/unit/*) bun_test "$FILE_SECONDS" isolated "${1%/}" ;;
    tests/build/*_test.ts) bun_test "$FILE_SECONDS" shared "$1" ;; # it downloads
    # With those of their folders `long`.
    tests/vm/*_test.ts | tests/interop/vm/*_test.ts) vm_test "$FILE_SECONDS" "$1" ;;
    tests/*_test.ts) bun_test "$FILE_SECONDS" isolated "$1" ;;
    *) check "$1 is a step or a test file" false ;;
  esac
}

# One command that counts as one test.
check() {
  local name=$1 begun=$SECONDS
  shift
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    report ok "$name" "$begun"
  else
    failed=$((failed + 1))
    cat "$log"
    report FAILED "$name" "$begun"
  fi
}

# Runs Bun's test runner and adds up its summary. A runner without a summary has crashed, was
# killed or found no test, which counts as a failure.
bun_test() {
  local limit=$1 isolation=$2 path=$3 begun=$SECONDS status pass fail test_ms=60000
  if [[ $isolation = vm ]]; then test_ms=180000; fi
  local command=("$BUN" test --timeout "$test_ms" "./$path")
  "limit_$isolation" "$limit" "${command[@]}" >"$log" 2>&1
  status=$?
  pass=$(summary pass "$log")
  fail=$(summary fail "$log")
  if [[ $status != 0 && $fail = 0 ]] || ! grep -q '^Ran [1-9]' "$log"; then
    fail=$((fail + 1))
    if [[ $status = 124 || $status = 137 ]]; then
      echo "$path did not end within $limit s" >>"$log"
    else
      echo "$path: the test runner ended with status $status" >>"$log"
    fi
  fi
  passed=$((passed + pass))
  failed=$((failed + fail))
  if [[ $fail = 0 ]]; then
    report ok "$path: $pass passed$(skipped "$log")" "$begun"
  else
    grep -v '^(pass)' "$log"
    report FAILED "$path: $pass passed, $fail failed$(skipped "$log")" "$begun"
  fi
}

vm_test() {
  case $kernel in
    native) bun_test "$1" isolated "$2" ;;
    vm) bun_test "$1" vm "$2" ;;
    *) check "$2 has a kernel to run on" false ;;
  esac
}

limit_shared() {
  local limit=$1
  shift
  timeout --kill-after=10 "$limit" "$@"
}

limit_isolated() {
  local limit=$1
  shift
  timeout --kill-after=10 "$limit" "${ISOLATED[@]}" "$@"
}

limit_vm() {
  local limit=$1
  shift
  tests/vm/run -t "$limit" -- "${ISOLATED[@]}" "$@"
}

summary() {
  awk -v word="$1" 'NF == 2 && $2 == word && $1 ~ /^[0-9]+$/ { n = $1 } END { print n + 0 }' "$2"
}

skipped() {
  local count
  count=$(($(summary skip "$1") + $(summary todo "$1")))
  if [[ $count != 0 ]]; then echo ", $count skipped"; fi
}

report() {
  printf '%-6s %s (%d s)\n' "$1" "$2" $((SECONDS - $3))
}

main "$@"
