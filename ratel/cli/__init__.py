"""The command line: what `ratel` and `python -m ratel` do.

In go arguments; out come text or one JSON object on stdout, messages on stderr, files, and an exit status. `main`
(parser, dispatch, errors in words), `options` (what commands share), `files` (programs and networks read, results
written), `networks` (their parts, as programs); then the commands: `text` (asm, dis, fmt), `quantise`, `compile`,
`run`, `check`, `time` (time, annotate, report), `sweep`, `fleet`, `reference` (chips, manual). What is large is
imported as it is used: `ratel asm` loads no numba, and nothing but networks loads onnx.
"""
