"""Text to Program and back: parser, resolution, layout, diagnostics, disassembler, formatter. Knows isa."""
