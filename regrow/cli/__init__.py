"""The commands; the top of the house, which nothing else imports."""
