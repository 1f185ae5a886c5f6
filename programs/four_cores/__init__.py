"""A network cut over four cores."""
