"""What people see: results as tables, pictures and pages.

In go results of the API; out comes text. `tables` (runs, schedules, progress), `explained`, `findings`, `bounds`,
`chips`, `report` (the HTML page) with `gantt`.
"""
