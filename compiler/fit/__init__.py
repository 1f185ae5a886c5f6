"""Steps on a chip: in one instruction where that has the same bits, in its memories, in an order that hides latencies.

    steps --fuse, batch--> steps --homes--> all in local memory? --arrange-------------> items --place, waits
              `                             `-> behind it?       --tile (cut), roll--'  /
               `--share (cut)----------------------------------------------------------'

| file | what it does |
|---|---|
| `sections` | what each core does |
| `fuse` | steps that become one instruction |
| `batch` | the same steps for several images |
| `share` | the same image on several cores: a part of each step, and what is sent to whom |
| `homes` | the memory that each tensor is at home in |
| `arrange` | bands of rows, and the order in which each step begins the earliest |
| `cut` | a part of a step: which part of each operand makes which part of the result |
| `tile` | steps on tensors behind local memory: loads, parts, stores; the tiling of the least cycles |
| `roll` | repeated steps as hardware loops |
| `place` | where tensors lie |
| `waits` | wait bits, in compiler order |
"""
