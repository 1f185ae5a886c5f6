"""Text and trees: all that knows how a program is written, and nothing of what it means.

In goes text; out come nodes with spans, or diagnostics. `source` (files and logical lines), `parser` with grammar.lark,
`nodes`, `hints` (what a slip was meant as), `diagnostics`, `format` (the standard form), `edits`.
"""
