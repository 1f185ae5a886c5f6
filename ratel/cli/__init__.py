"""The command line. In go arguments; out come text or JSON, and an exit status. `main` has all commands."""
