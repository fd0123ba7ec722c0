"""Kubernetes: the section `cluster`, cron expressions, and the container engine."""
