"""Fleet: how many cards of which kind a service needs, and how long its queries wait.

    FLEET.toml --file--> Fleet --rates--> Rates of each kind --scenarios--> Planned --picture--> SVG
                                                    ^ asks |
                                                    +-- queues --measures--> Latencies

| file | what it does |
|---|---|
| `file` | FLEET.toml read and checked: Cards of a kind, Work, Scenario, together a Fleet |
| `rates` | how long a card takes for a batch: from cycles, from bounds, or not public, or why it cannot |
| `queues` | queries before the cards that share a queue, by SimPy |
| `measures` | Latencies: percentiles, and a mean with its confidence interval |
| `scenarios` | MLPerf's four: what each asks of the queues, and what it reports |
| `fleet` | the whole: `ratel.fleet` and its Planned, of a Kind each |
| `picture` | load against latency, by kind, as SVG |

Time is in seconds, rates are of queries or samples a second. A card takes one batch after another: it is held for the
`hold` of a batch, in a stream the interval between batches, and the results are there its `latency` after it began,
which is no less. A batch is of one work; it waits until the card is free, and until it is full or its window is over.

Cards of a kind are alike. So many of them share a queue (`per_queue`), and queries are spread over queues at random:
one queue with its part of the arrivals stands for all. Of a chip of bounds, latencies are at least, and rates at most,
what is said; of one whose bound leaves out the device memory, nothing is. Draws follow from the seed alone.
"""
