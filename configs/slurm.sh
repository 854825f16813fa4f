#!/bin/bash
# A run on several machines under Slurm that continues by itself:  sbatch configs/slurm.sh
#
# Slurm sends SIGUSR1 two minutes before the time limit. All ranks stop at the end of an optimizer
# step, rank 0 saves a checkpoint and requeues the job, and `--ckpt_path auto` continues from it.
# The same happens by itself after a preemption or a failed node, from the last checkpoint.
#
# Change the numbers of nodes and GPUs in both places: the options of Slurm and those of the Trainer.

#SBATCH --job-name=seqlearn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=SIGUSR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=runs/%x-%j.log

# The folder must be on a file system that all machines share. Each experiment has its own.
srun --kill-on-bad-exit=1 seqlearn fit --config configs/multi30k-transformer.yaml \
    --trainer.accelerator gpu --trainer.strategy ddp \
    --trainer.num_nodes 2 --trainer.devices 4 \
    --trainer.default_root_dir runs/multi30k --ckpt_path auto
