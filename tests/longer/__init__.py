"""What the tests do in small, at length: commands that count what they have seen; and one that fetches networks."""
