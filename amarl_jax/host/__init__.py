"""The layer between a command and its machine: flags, workdirs, checkpoints, logs, signals."""
