"""What the machine is: types, operands, the table, encoding, meaning, Program, chips. Imports no other package here."""
