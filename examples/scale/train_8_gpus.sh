#!/bin/sh
# Training on one machine with 8 GPUs, by torchrun. Started again with the same folders, it goes on where it stopped.
# Usage: sh examples/scale/train_8_gpus.sh DATA OUT [--recipe 3d, and any other option of `tumorspread train`]
# DATA is a data set with its splits.json. PROCESSES (8) is the number of GPUs, or of processes on a machine without one.
set -eu
data=$1
out=$2
shift 2
# A run that is resumed has its recipe in its folder.
[ ! -f "$out/last.ckpt" ] || set -- --resume
exec "${PYTHON:-python3}" -m torch.distributed.run --standalone --nproc_per_node "${PROCESSES:-8}" \
    -m tumorspread train "$data" -o "$out" "$@"
