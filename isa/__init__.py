"""What the machine is: types, operands, the table of instructions, encoding, meaning, Program and chips. Knows nobody."""
