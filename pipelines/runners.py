"""The runners of the pipeline on this machine: modules of this folder, each started as a separate process."""

# Each step a process of its own, or a container of its own image.
RUNNERS = {"subprocess": "regrow_pipelines.local", "docker": "regrow_pipelines.containers"}
