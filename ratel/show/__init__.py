"""What people see: results as tables, pictures and pages.

In go results of the API; out comes text, each number with its unit. `terminal` (what all that is printed passes
through), `tables` (of what all is made: tables, numbers in words) and `progress` (while work goes on); then one file
for each kind of result: `runs`, `schedules`, `explained` (annotated source, breakdown, roofline, what-if), `findings`,
`bounds`, `chips`, `networks`, `sweeps`, `fleets`; `report` (the HTML page) with `gantt`.
JSON is not made here: results have `summary`.
"""
