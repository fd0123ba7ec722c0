"""What README and docs quote of benchmarks/results: tables in Markdown, and parts of sentences."""
