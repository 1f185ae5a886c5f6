"""Explore: a fleet of cards; above ratel's API, below its command line.

| file | what it does |
|---|---|
| `extras` | the packages of the extra [explore], imported as they are used |
| `fleet` | a wing of its own: cards, the work that they do, and the queues before them |
"""
