#!/usr/bin/env bash
# A training job of one or more machines under Slurm, which continues after a preemption or its time
# limit from its newest checkpoint:
#   sbatch --nodes 2 --gpus-per-node 8 scripts/slurm.sh configs/digits_mlp.yaml optimizer.lr=0.05
# The words are those of `bptrain fit`, the config first. RUN=runs/NAME names the run's folder, which
# every machine must see; PYTHON=/path/to/python is that of an environment with bptrain in it.
#SBATCH --job-name=bptrain
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# two minutes before the time limit this shell is told, and has the run save and stop
#SBATCH --signal=B:USR1@120
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch [--nodes N] [--gpus-per-node N] scripts/slurm.sh CONFIG [key=value ...]" >&2
    exit 2
fi
name=$(basename "${1%.*}")
run=${RUN:-runs/$name-$SLURM_JOB_ID} # a job that is queued again keeps its number
processes=${SLURM_GPUS_ON_NODE:-1}   # one for each GPU, or one on CPUs
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${hosts%%$'\n'*} # without a pipe to `head`, whose end could stop scontrol and with it the job
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs on one machine take different ones

# threads of each process: the machine's cores, divided
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((SLURM_CPUS_PER_TASK + processes - 1) / processes))}

stopped=
stop() {
    stopped=yes
    scancel --signal=USR1 "$SLURM_JOB_ID" # every process of the step, not this shell
}
trap stop USR1

# One torchrun on each machine; the first that fails ends the others. Slurm signals every process of
# a step: torchrun ignores it, so that each training process has one signal, not a second one from it.
srun --kill-on-bad-exit=1 bash -c 'trap "" USR1 TERM; exec "$@"' torchrun \
    "${PYTHON:-python3}" -m torch.distributed.run \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$processes" --signals-to-handle=SIGINT \
    --rdzv-backend=c10d --rdzv-endpoint="$first:$port" --rdzv-id="$SLURM_JOB_ID" \
    -m bptrain fit "$@" --resume=auto --run-dir="$run" &
step=$!
status=0
wait "$step" || status=$? # the trap interrupts it
if [ -n "$stopped" ]; then
    wait "$step" || status=$?
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
