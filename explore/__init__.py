"""Explore: one program on many chips, in processes or on a cluster; above ratel's API, below its command line.

    vary --space--> points --pools--> outcomes --results--> RESULTS.parquet
                      ^      `evaluate`  |
                      +----- search <----+--front--> Sweep --page--> HTML

| file | what it does |
|---|---|
| `extras` | the packages of the extra [explore], imported as they are used |
| `space` | what varies: parameters, the points of a grid, drawn points |
| `goals` | what is wanted less of: a table of columns, each with how it is found; the one place to add to |
| `evaluate` | Work, what all points have in common and what travels; the Outcome of one point |
| `results` | outcomes by key in a Parquet file, written whole as they come, and read back |
| `pools` | where points are computed: in this process, in processes of this computer, on a cluster, all by `evaluate` |
| `search` | Optuna: which points are next, by what is known |
| `front` | points that no other beats in all goals, and what each parameter is worth |
| `sweep` | the whole: `ratel.sweep` and its Sweep |
| `page` | a Sweep as one page that loads nothing; `page.js` draws it in the browser |
| `fleet` | a wing of its own: cards, the work that they do, and the queues before them |

A point is a value for each parameter: numbers of the chip by their keys, and what else is said of a run (the chip it
begins with, tasks; of a network cores, batch, order, round_once). Its key is the hash of the program, the version,
the chip with all its numbers and the rest; the same key is never computed twice. A point that cannot run has an
Outcome as well: why not. Outcomes depend on nothing but Work and point, so they are the same wherever they are
computed, and a search asks in rounds of one size, so it goes the same way, too.
"""
