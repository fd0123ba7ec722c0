"""`python -m regrow.cli`."""

from regrow.cli.main import main

main()
