"""Text and trees: all that knows how a program is written, and nothing of what it means.

In goes text; out come nodes with spans, or diagnostics. `source` (files and logical lines), `parser` with
grammar.lark, `nodes`, `printer` (from nodes to text), `hints` (what a slip was meant as), `diagnostics`, `format` (the
standard form), `edits`.
"""
