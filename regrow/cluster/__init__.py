"""Kubernetes: what a run asks of the cluster, and the commands that talk to Kubeflow Pipelines."""
