"""Text to Program and back: parser, resolution and layout, diagnostics, disassembler, formatter."""
