"""The rim between a command and its machine: flags, workdirs, checkpoints, logs, signals."""
