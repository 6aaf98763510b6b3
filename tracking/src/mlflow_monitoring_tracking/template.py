"""The configuration file that ``tracking-spool setup`` writes."""

from __future__ import annotations

#: What ``tracking-spool setup`` writes. Every value is the default.
TEMPLATE = """\
# Where the spool is. Everything else has a default, too; docs/reference/tracking.md has all keys.
tracking_dir: tracking

mlflow:
  # enabled: true            # as soon as there is an address
  # tracking_uri: http://mlflow.example.org:5000     # or the variable MLFLOW_TRACKING_URI
  # experiment_name: my_experiment

# wandb:
#   enabled: true            # the key is in the variable WANDB_API_KEY, or of wandb login
#   project: my_project

# database:
#   url: sqlite:///runs.db   # or postgresql://user@host/name, or the variable TRACKING_DB_URL

# storage:
#   type: s3                 # files go to S3, or what speaks its protocol
#   bucket: my-bucket

local:
  enabled: true              # keep the spool after every back end has everything
  save_models: true          # copy models to models_dir
  save_plots: true           # copy figures to artifacts_dir
  save_data: true            # copy other files to artifacts_dir
# models_dir: models
# artifacts_dir: artifacts

auto_log:
  enabled: true
  log_system_info: true
  log_git_info: true
  log_environment: true
  # environment_variables: [CUDA_VISIBLE_DEVICES]
  system_metrics: false      # processor, memory, disk, network and GPUs, as metrics

spool:
  max_bytes: 10 GB
  fsync: 1s                  # always, never, or how often
  flush_timeout: 5s          # how long the end of the program waits for back ends that answer

delivery:
  interval: 5s
"""
