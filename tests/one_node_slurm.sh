#!/usr/bin/env bash
# one_node_slurm.sh install | start FOLDER | stop FOLDER
# A real SLURM of one node, this machine, with two stand-in GPUs, its state and logs under FOLDER (short path, removed by
# `stop`). `install` exits with 3 where SLURM's packages cannot be had. Nothing outside FOLDER is written, except the link
# /run/slurm/conf: the plugin starts job steps without SLURM_CONF, and SLURM looks there by itself.
set -euo pipefail

LINK=/run/slurm/conf
PATH=$PATH:/usr/sbin:/sbin
fail() { echo "one_node_slurm: $1" >&2; exit "${2:-1}"; }
usage() { fail "expected 'install', 'start FOLDER' or 'stop FOLDER', not '$*'" 2; }

# A bounded wait: within SECONDS COMMAND...
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

installed() {
  local name
  for name in munged slurmctld slurmd sbatch srun squeue scancel sinfo; do command -v "$name" >/dev/null || return; done
}

install() {
  installed && return
  command -v apt-get >/dev/null || fail "SLURM is not installed, and there is no apt-get to install it with" 3
  local get=(env DEBIAN_FRONTEND=noninteractive timeout 200 apt-get -qq -o DPkg::Lock::Timeout=60)
  local packages=(slurm-wlm slurm-client munge)
  "${get[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
    { "${get[@]}" update && "${get[@]}" install -y --no-install-recommends "${packages[@]}"; } >&2 ||
    fail "apt-get could not install ${packages[*]}" 3
  installed || fail "apt-get installed ${packages[*]}, and some of SLURM's commands are still missing" 3
}

idle() { [ "$(sinfo --noheader --format=%T)" = idle ]; }

start() {
  local host port cpus
  folder=$1
  installed || fail "SLURM is not installed: run '$0 install' first"
  [ ! -e "$folder" ] || fail "$folder exists; expected the path of a folder to be made"
  # Another SLURM's settings would win, and jobs of a test do not belong in its queue.
  [ ! -e "${SLURM_CONF:-/etc/slurm/slurm.conf}" ] ||
    fail "this machine has a SLURM of its own (${SLURM_CONF:-/etc/slurm/slurm.conf})" 3
  if alive "$LINK/slurmctld.pid"; then  # a link that a killed test left behind is replaced
    fail "another SLURM runs here; stop it first: '$0 stop $(readlink "$LINK")'"
  fi
  mkdir -p "$folder"/{state,spool,log} "$(dirname "$LINK")"
  chmod 755 "$folder"
  folder=$(realpath "$folder")
  host=$(hostname -s)
  cpus=$(getconf _NPROCESSORS_ONLN)
  [ "$cpus" -ge 2 ] || cpus=2
  port=$(python3 -c 'import socket
a, b = socket.socket(), socket.socket()
a.bind(("127.0.0.1", 0)), b.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
  dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none
  chmod 600 "$folder/munge.key"
  # Devices that SLURM can hand out as GPUs: it sets CUDA_VISIBLE_DEVICES by them and never looks inside.
  mknod "$folder/gpu0" c 1 3 && mknod "$folder/gpu1" c 1 3
  echo "NodeName=$host Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
  cat >"$folder/slurm.conf" <<CONF
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${port% *}
SlurmdPort=${port#* }
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=3600
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  ln -sfn "$folder" "$LINK"
  trap 'stop "$folder"' EXIT  # what has started when a later step fails
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed" 2>"$folder/log/munged.start"
  { slurmctld -c -f "$folder/slurm.conf" && slurmd -f "$folder/slurm.conf"; } 2>&1 || fail "SLURM's daemons do not start"
  within 60 idle || fail "the node is not idle after 60 s: $(sinfo --noheader --format='%T %E' 2>&1; tail -n 5 "$folder"/log/*)"
  trap - EXIT
}

alive() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
gone() { ! alive "$1"; }
no_jobs() { local jobs && jobs=$(squeue --noheader) && [ -z "$jobs" ]; }

# Ends what `start` started, by the ids that the daemons wrote themselves.
stop() {
  local folder pid name
  [ -f "$1/slurm.conf" ] || fail "no SLURM was started in $1"
  folder=$(realpath "$1")
  if [ "$(readlink "$LINK")" = "$folder" ]; then
    if alive "$folder/slurmctld.pid"; then
      timeout 10 scancel --quiet --user=root || true
      within 60 no_jobs || echo "one_node_slurm: jobs are left after 60 s: $(timeout 10 squeue --noheader 2>&1)" >&2
    fi
    rm "$LINK"
  fi
  for name in slurmd slurmctld munged; do
    pid=$folder/$name.pid
    alive "$pid" || continue
    kill "$(cat "$pid")" 2>/dev/null || true
    within 10 gone "$pid" || kill -9 "$(cat "$pid")" 2>/dev/null || true
  done
  rm -rf "$folder"
}

[ "$(id -u)" = 0 ] || fail "expected to be run by root (SLURM's daemons and stand-in devices need it), not by $(id -un)" 4
case "$#-${1:-}" in
  1-install) install ;;
  2-start) start "$2" ;;
  2-stop) stop "$2" ;;
  *) usage "$@" ;;
esac
