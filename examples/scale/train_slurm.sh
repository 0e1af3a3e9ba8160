#!/bin/sh
#SBATCH --job-name=tumorspread-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Training on two machines with 8 GPUs each, a task a GPU. Put back into the queue, it goes on where it stopped.
# Usage: sbatch examples/scale/train_slurm.sh DATA OUT [--recipe 3d, and any other option of `tumorspread train`]
# DATA and OUT lie on a file system that all machines see. Options of sbatch, given before the script, go before the
# lines above: `sbatch --nodes=4 examples/scale/train_slurm.sh ...`.
set -eu
data=$1
out=$2
shift 2
[ ! -f "$out/last.ckpt" ] || set -- --resume
# A task that dies ends the others, which would wait for it.
exec srun --kill-on-bad-exit=1 "${PYTHON:-python3}" -m tumorspread train "$data" -o "$out" "$@"
